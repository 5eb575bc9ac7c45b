"""What users tell of themselves."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. No user has a profile yet."""
    op.add_column("account", sa.Column("profile", sa.Text))
    op.add_column("account", sa.Column("profile_at", sa.BigInteger))
