"""Counts of the outbox without a scan."""

from alembic import op

from services.kit import outbox

revision = "payment_0005"
down_revision = "payment_0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    outbox.index_counts(op)


def downgrade() -> None:
    for index in ("outbox_dead", "outbox_alive"):
        op.drop_index(index, "outbox")
