"""Settled payments are numbered by those who follow them, not in the transaction that settles them.

Old replicas, which number while they settle, take the same lock, so that both go together during an upgrade.
"""

import sqlalchemy as sa
from alembic import op

revision = "payment_0007"
down_revision = "payment_0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("payments", sa.Column("to_number", sa.Double))
    where = sa.text("to_number IS NOT NULL")
    # There are none yet: it is built at once.
    columns = ["to_number", "id"]
    op.create_index("payments_to_number", "payments", columns, sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    op.drop_index("payments_to_number", "payments")
    op.drop_column("payments", "to_number")
