"""Refunds are told to their orders through an outbox.

Those that were made before get their events from `services.payment.storage.SqlStore.backfill_events`, in
pieces, while the service runs.
"""

import sqlalchemy as sa
from alembic import op

from services.kit import outbox

revision = "payment_0004"
down_revision = "payment_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    outbox.create(op)
    outbox.add_refused(op)
    op.add_column("refunds", sa.Column("told", sa.Boolean))
    untold = sa.text("told IS NULL")
    op.create_index("refunds_untold", "refunds", ["payment_id"], sqlite_where=untold, postgresql_where=untold)


def downgrade() -> None:
    op.drop_index("refunds_untold", "refunds")
    op.drop_column("refunds", "told")
    op.drop_table("outbox")
