"""The tables of the notification service. What the database is asked for in SQL is in `storage`."""

import sqlalchemy as sa

from services.kit import audit_record, outbox

metadata = sa.MetaData()
outbox.table.to_metadata(metadata)
audit_record.table.to_metadata(metadata)

#: The cursor is the user's last. Its row serializes transactions that notify a user, so cursors have no
#: gaps and none is seen before a smaller one, as it might be with a sequence.
users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
)

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Integer, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.String(12), nullable=False),
    sa.Column("title", sa.String(200), nullable=False),
    sa.Column("body", sa.String(2000), nullable=False),
    # Makes sure that an event is recorded once, however often it is sent.
    sa.Column("event_id", sa.String(200)),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.UniqueConstraint("user_id", "cursor", name="notifications_cursor"),
    sa.UniqueConstraint("event_id", name="notifications_event"),
    sa.Index("notifications_by_age", "created_at"),
)

#: One row, once something was deleted: older notifications (Unix seconds) may be missing. For the audit.
forgotten = sa.Table(
    "forgotten",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("before", sa.Double, nullable=False),
)

#: Letters until a mail system has taken them, or for an hour.
mail = sa.Table(
    "mail",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Integer, nullable=False),
    sa.Column("address", sa.String(254), nullable=False),
    sa.Column("subject", sa.String(200), nullable=False),
    sa.Column("body", sa.String(4000), nullable=False),
    sa.Column("event_id", sa.String(200), unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Index("mail_by_age", "created_at"),
    sa.Index("mail_by_user", "user_id"),
    sa.Index("mail_by_address", "address", "id"),
)
