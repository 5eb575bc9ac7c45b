"""Products, and what was reserved of them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "product",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("price", sa.BigInteger, sa.CheckConstraint("price >= 0"), nullable=False),
        sa.Column("stock", sa.BigInteger, sa.CheckConstraint("stock >= 0"), nullable=False),
        sa.Column("category", sa.Integer, nullable=False),
        sa.Column("tags", sa.Text, nullable=False),
        sa.Column("search_text", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("updated_at", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,  # an id is never given twice
    )
    op.create_index("product_category", "product", ["category", "id"])
    op.create_table(
        "reservation",
        sa.Column("key", sa.Text, primary_key=True),
        sa.Column("released", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "reservation_item",
        sa.Column("key", sa.Text, sa.ForeignKey("reservation.key"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("product_id", sa.Integer, nullable=False),
        sa.Column("quantity", sa.BigInteger, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("price", sa.BigInteger, nullable=False),
        sa.Column("category", sa.Integer, nullable=False),
    )
