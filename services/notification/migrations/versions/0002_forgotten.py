"""Old notifications are dropped, and how old is written down."""

import sqlalchemy as sa
from alembic import op

revision = "notification_0002"
down_revision = "notification_0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("notifications_by_age", "notifications", ["created_at"])
    op.create_table(
        "forgotten",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("before", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("forgotten")
    op.drop_index("notifications_by_age", "notifications")
