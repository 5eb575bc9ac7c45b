"""The audit log, which can only grow."""

from alembic import op

from services.kit import audit_record

revision = "payment_0006"
down_revision = "payment_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table; nothing has been logged yet."""
    audit_record.create(op)
