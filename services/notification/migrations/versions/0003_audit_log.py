"""The audit log, which can only grow."""

from alembic import op

from services.kit import audit_record

revision = "notification_0003"
down_revision = "notification_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; nothing has been logged yet."""
    audit_record.create(op)
