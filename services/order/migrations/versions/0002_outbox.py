"""What others are to be told of orders, until they have been told."""

from alembic import op

from services.kit import outbox

revision = "order_0002"
down_revision = "order_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    outbox.create(op)


def downgrade() -> None:
    op.drop_table("outbox")
