"""Events that their receiver refuses for good are set aside."""

from alembic import op

from services.kit import outbox

revision = "order_0003"
down_revision = "order_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    outbox.add_refused(op)


def downgrade() -> None:
    op.drop_column("outbox", "refused")
