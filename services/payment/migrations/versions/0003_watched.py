"""Charges that were given up are looked for again; the refunds of a charge are found by it."""

import sqlalchemy as sa
from alembic import op

revision = "payment_0003"
down_revision = "payment_0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("payments", sa.Column("look_at", sa.Double))
    watched = sa.text("look_at IS NOT NULL")
    op.create_index(
        "payments_watched", "payments", ["look_at"], sqlite_where=watched, postgresql_where=watched
    )
    op.create_index("acquirer_ledger_transaction", "acquirer_ledger", ["transaction_id"])


def downgrade() -> None:
    op.drop_index("acquirer_ledger_transaction", "acquirer_ledger")
    op.drop_index("payments_watched", "payments")
    op.drop_column("payments", "look_at")
