"""Rooms, messages, and who is there."""

import sqlalchemy as sa
from alembic import op

revision = "chat_0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "rooms",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("cursor", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "messages",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("room", sa.String(64), sa.ForeignKey("rooms.id"), nullable=False),
        sa.Column("cursor", sa.BigInteger, nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("user_name", sa.String(200), nullable=False),
        sa.Column("text", sa.String(2000), nullable=False),
        sa.Column("key", sa.String(100)),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.UniqueConstraint("room", "cursor", name="messages_cursor"),
        sa.UniqueConstraint("room", "user_id", "key", name="messages_key"),
    )
    op.create_table(
        "presence",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("room", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Integer, nullable=False),
        sa.Column("user_name", sa.String(200), nullable=False),
        sa.Column("expires_at", sa.Double, nullable=False),
    )
    op.create_index("presence_by_room", "presence", ["room", "user_id"])
    op.create_index("presence_expiry", "presence", ["expires_at"])


def downgrade() -> None:
    for table in ("presence", "messages", "rooms"):
        op.drop_table(table)
