"""Counts of the outbox without a scan."""

from alembic import op

from services.kit import outbox

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the indexes."""
    outbox.index_counts(op)
