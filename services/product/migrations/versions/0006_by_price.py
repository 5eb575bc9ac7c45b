"""Products by their price: what "the cheapest", and a range of prices, are found by."""

from alembic import op

from services.kit.online import create_index

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(op, "product_by_price", "product", ["price", "id"])
    create_index(op, "product_by_category_price", "product", ["category", "price", "id"])


def downgrade() -> None:
    op.drop_index("product_by_category_price", "product")
    op.drop_index("product_by_price", "product")
