"""The tables of the chat service. What the database is asked for in SQL is in `storage`."""

import sqlalchemy as sa

metadata = sa.MetaData()

#: The cursor is the room's last. Its row serializes those who post, so cursors have no gaps and none
#: is seen before a smaller one, as it might be with a sequence.
rooms = sa.Table(
    "rooms",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("cursor", sa.BigInteger, nullable=False),
)

messages = sa.Table(
    "messages",
    metadata,
    # SQLite numbers only what it calls INTEGER.
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
    sa.Index("messages_by_age", "sent_at"),
)

presence = sa.Table(
    "presence",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("room", sa.String(64), nullable=False),
    sa.Column("user_id", sa.Integer, nullable=False),
    sa.Column("user_name", sa.String(200), nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),
    sa.Index("presence_by_room", "room", "user_id"),
    sa.Index("presence_expiry", "expires_at"),
)
