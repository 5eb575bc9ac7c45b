"""Log-in sessions: one row a family, whose refresh tokens are a chain."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table.

    Tokens that were issued already stay in the old one, and are adopted when they are used.
    """
    op.create_table(
        "login_session",
        sa.Column("family", sa.Text, primary_key=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("digest", sa.Text, nullable=False),
        sa.Column("rotated_at", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
    )
    op.create_index("login_session_user_id", "login_session", ["user_id", "expires_at"])
    op.create_index("login_session_expires_at", "login_session", ["expires_at"])
