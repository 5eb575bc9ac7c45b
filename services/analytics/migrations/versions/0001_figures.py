"""Events that are counted, and figures."""

import sqlalchemy as sa
from alembic import op

revision = "analytics_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "seen",
        sa.Column("event_id", sa.String(100), primary_key=True),
        sa.Column("at", sa.Double, nullable=False, index=True),
    )
    op.create_table(
        "placed_orders",
        sa.Column("order_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("at", sa.Double, nullable=False, index=True),
    )
    op.create_table(
        "metrics",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("product_id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("value", sa.BigInteger, nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
    )
    op.create_index("metrics_by_cursor", "metrics", ["cursor"], unique=True)
    progress = op.create_table(
        "progress",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(progress, [{"id": 1, "cursor": 0}])


def downgrade() -> None:
    for table in ("progress", "metrics", "placed_orders", "seen"):
        op.drop_table(table)
