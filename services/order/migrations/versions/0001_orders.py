"""Orders, their items and their history."""

import sqlalchemy as sa
from alembic import op

revision = "order_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("step", sa.String(12), nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("payment_id", sa.Integer, nullable=False),
        sa.Column("key", sa.String(100)),
        sa.Column("on_file", sa.Boolean, nullable=False),
        sa.Column("address", sa.JSON, nullable=False),
        sa.Column("failure", sa.JSON(none_as_null=True)),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("lease_until", sa.Double, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("updated_at", sa.Double, nullable=False),
        sa.UniqueConstraint("user_id", "key", name="orders_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("orders_by_user", "orders", ["user_id", "id"])
    unfinished = sa.text("step <> 'DONE'")
    op.create_index(
        "orders_unfinished",
        "orders",
        ["lease_until"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )
    op.create_table(
        "order_items",
        _order_id(),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("product_id", sa.Integer, nullable=False),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.Column("name", sa.String(500), nullable=False),
        sa.Column("unit_price", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "order_events",
        _order_id(),
        sa.Column("cursor", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("status", sa.String(12), nullable=False),
        sa.Column("message", sa.String(200), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
    )


def _order_id() -> sa.Column[int]:
    return sa.Column(
        "order_id", sa.Integer, sa.ForeignKey("orders.id"), primary_key=True, autoincrement=False
    )


def downgrade() -> None:
    for table in ("order_events", "order_items", "orders"):
        op.drop_table(table)
