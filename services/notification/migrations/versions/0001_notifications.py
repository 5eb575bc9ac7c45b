"""Notifications, and how far each user's have come."""

import sqlalchemy as sa
from alembic import op

revision = "notification_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "notifications",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("kind", sa.String(12), nullable=False),
        sa.Column("title", sa.String(200), nullable=False),
        sa.Column("body", sa.String(2000), nullable=False),
        sa.Column("event_id", sa.String(200)),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.UniqueConstraint("user_id", "cursor", name="notifications_cursor"),
        sa.UniqueConstraint("event_id", name="notifications_event"),
    )


def downgrade() -> None:
    for table in ("notifications", "users"):
        op.drop_table(table)
