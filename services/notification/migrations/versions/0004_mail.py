"""Letters."""

import sqlalchemy as sa
from alembic import op

revision = "notification_0004"
down_revision = "notification_0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "mail",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("address", sa.String(254), nullable=False),
        sa.Column("subject", sa.String(200), nullable=False),
        sa.Column("body", sa.String(4000), nullable=False),
        sa.Column("event_id", sa.String(200), unique=True),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_index("mail_by_age", "mail", ["created_at"])
    op.create_index("mail_by_user", "mail", ["user_id"])


def downgrade() -> None:
    op.drop_table("mail")
