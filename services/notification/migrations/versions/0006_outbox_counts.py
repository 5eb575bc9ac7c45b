"""Counts of the outbox without a scan."""

from alembic import op

from services.kit import outbox

revision = "notification_0006"
down_revision = "notification_0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Makes the indexes."""
    outbox.index_counts(op)


def downgrade() -> None:
    for index in ("outbox_dead", "outbox_alive"):
        op.drop_index(index, "outbox")
