"""An outbox for letters that a mail system is to take."""

from alembic import op

from services.kit import outbox

revision = "notification_0005"
down_revision = "notification_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the table; letters that wait already are read by the operator, and dropped after an hour."""
    outbox.create(op)
    outbox.add_refused(op)


def downgrade() -> None:
    op.drop_table("outbox")
