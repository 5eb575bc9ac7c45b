"""Orders by status, and counts of the outbox, without a scan."""

from alembic import op

from services.kit import outbox
from services.kit.online import create_index

revision = "order_0005"
down_revision = "order_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_index(op, "orders_by_status", "orders", ["status", "id"])
    outbox.index_counts(op)


def downgrade() -> None:
    for index in ("outbox_dead", "outbox_alive"):
        op.drop_index(index, "outbox")
    op.drop_index("orders_by_status", "orders")
