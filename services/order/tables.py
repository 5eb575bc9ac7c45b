"""The tables of the order service. What the database is asked for in SQL is in `storage`."""

import sqlalchemy as sa

from services.kit import audit_record, outbox

metadata = sa.MetaData()
outbox.table.to_metadata(metadata)
audit_record.table.to_metadata(metadata)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.Integer, nullable=False),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("step", sa.String(12), nullable=False),
    sa.Column("total", sa.BigInteger, nullable=False),
    sa.Column("payment_id", sa.Integer, nullable=False),
    sa.Column("key", sa.String(100)),
    sa.Column("on_file", sa.Boolean, nullable=False),
    sa.Column("address", sa.JSON, nullable=False),
    sa.Column("failure", sa.JSON(none_as_null=True)),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    sa.Column("lease_until", sa.Double, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("updated_at", sa.Double, nullable=False),
    # Cents refunded.
    sa.Column("refunded", sa.BigInteger, nullable=False, server_default="0"),
    # The total that the buyer was shown.
    sa.Column("expected", sa.BigInteger),
    # Whether the catalogue has been told that the goods have left. NULL: written by an older version, which
    # told nobody, so it must be checked.
    sa.Column("ship_told", sa.Boolean),
    sa.UniqueConstraint("user_id", "key", name="orders_key"),
    sa.Index("orders_by_user", "user_id", "id"),
    sa.Index("orders_by_status", "status", "id"),
    # Partial: see the migration. Saying it here would load PostgreSQL's dialect, megabytes, on SQLite too.
    sa.Index("orders_unfinished", "lease_until"),
    sa.Index("orders_to_tell", "id"),
    # An id, and so the keys at the other services, is never used twice.
    sqlite_autoincrement=True,
)

items = sa.Table(
    "order_items",
    metadata,
    sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id"), primary_key=True, autoincrement=False),
    sa.Column("position", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("product_id", sa.Integer, nullable=False),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("name", sa.String(500), nullable=False),
    sa.Column("unit_price", sa.BigInteger, nullable=False),
)

#: Buyers to be erased, as long as an order of theirs needs its address to be shipped.
erased = sa.Table(
    "erased",
    metadata,
    sa.Column("user_id", sa.Integer, primary_key=True, autoincrement=False),
)

#: Every change that a reader can see. The cursor is the order's version: it grows with the order's own
#: changes, which its row puts in order; a sequence over all orders would let a later number commit first.
events = sa.Table(
    "order_events",
    metadata,
    sa.Column("order_id", sa.Integer, sa.ForeignKey("orders.id"), primary_key=True, autoincrement=False),
    sa.Column("cursor", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("status", sa.String(12), nullable=False),
    sa.Column("message", sa.String(200), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    # Cents refunded by then.
    sa.Column("refunded", sa.BigInteger, nullable=False, server_default="0"),
)
