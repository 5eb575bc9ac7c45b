"""Codes for forgotten passwords, and an outbox for what others are told of users."""

import sqlalchemy as sa
from alembic import op

from services.kit import outbox

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    outbox.create(op)
    outbox.add_refused(op)
    op.create_table(
        "recovery",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, unique=True),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("recovery_user_id", "recovery", ["user_id"])
    op.create_index("recovery_expires_at", "recovery", ["expires_at"])
