"""Batches, and the order in which payments are settled. What was settled before has no cursor."""

import sqlalchemy as sa
from alembic import op

revision = "payment_0002"
down_revision = "payment_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("payments", sa.Column("batch", sa.String(40)))
    op.add_column("payments", sa.Column("cursor", sa.BigInteger))
    op.create_index("payments_by_batch", "payments", ["batch", "id"])
    op.create_index("payments_by_cursor", "payments", ["cursor"], unique=True)
    feed = op.create_table(
        "payments_feed",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(feed, [{"id": 1, "cursor": 0}])


def downgrade() -> None:
    op.drop_table("payments_feed")
    op.drop_index("payments_by_cursor", "payments")
    op.drop_index("payments_by_batch", "payments")
    op.drop_column("payments", "cursor")
    op.drop_column("payments", "batch")
