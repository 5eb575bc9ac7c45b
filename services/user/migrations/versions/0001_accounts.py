"""Users and refresh tokens."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "account",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text, nullable=False),
        sa.Column("status", sa.Integer, nullable=False),
        sa.Column("age", sa.Integer, nullable=False),
        sa.Column("roles", sa.Text, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        sa.Column("password_hash", sa.Text),
        sa.Column("name_key", sa.Text, nullable=False),
        sa.Column("email_key", sa.Text, nullable=False),
        sa.UniqueConstraint("name_key", name="account_name_key"),
        sa.UniqueConstraint("email_key", name="account_email_key"),
        sqlite_autoincrement=True,  # an id is never given twice: a token may outlive its user
    )
    op.create_table(
        "refresh_token",
        sa.Column("digest", sa.Text, primary_key=True),
        sa.Column("family", sa.Text, nullable=False),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("account.id"), nullable=False),
        sa.Column("expires_at", sa.BigInteger, nullable=False),
        sa.Column("spent", sa.Boolean, nullable=False),
    )
    for column in ("family", "user_id", "expires_at"):
        op.create_index(f"refresh_token_{column}", "refresh_token", [column])
