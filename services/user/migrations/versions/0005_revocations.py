"""Revoked tokens, and the audit log, which can only grow."""

import sqlalchemy as sa
from alembic import op

from services.kit import audit_record

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "revocation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("session", sa.Text, nullable=False),
        sa.Column("issued_until", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("revocation_expires_at", "revocation", ["expires_at"])
    audit_record.create(op)
