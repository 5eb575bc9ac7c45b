"""The tables of the analytics service. What the database is asked for in SQL is in `storage`."""

import sqlalchemy as sa

metadata = sa.MetaData()

#: Events that are counted: their ids make sure that each is counted once.
seen = sa.Table(
    "seen",
    metadata,
    sa.Column("event_id", sa.String(100), primary_key=True),
    sa.Column("at", sa.Double, nullable=False, index=True),
)

#: Orders that are counted: each of their lines arrives in an event of its own.
placed_orders = sa.Table(
    "placed_orders",
    metadata,
    sa.Column("order_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.Double, nullable=False, index=True),
)

#: The figures. `product_id` is 0 for all products together.
metrics = sa.Table(
    "metrics",
    metadata,
    sa.Column("name", sa.String(40), primary_key=True),
    sa.Column("minute", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("product_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("value", sa.BigInteger, nullable=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
    sa.Index("metrics_by_cursor", "cursor", unique=True),
)

#: One row: the cursor of the last change. It serializes those who count, so that no cursor is seen
#: before a smaller one, and none is left out.
progress = sa.Table(
    "progress",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("cursor", sa.BigInteger, nullable=False),
)
