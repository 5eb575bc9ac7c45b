"""The tables of the product service. What the database is asked for in SQL is in `storage` and `stock`."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    text,
)

from services.kit import audit_record

metadata = MetaData()
audit_record.table.to_metadata(metadata)

product = Table(
    "product",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("price", BigInteger, CheckConstraint("price >= 0"), nullable=False),
    #: The stock that can be sold: the sum of the ledger's `stock_change`. It may exceed an int32.
    Column("stock", BigInteger, CheckConstraint("stock >= 0"), nullable=False),
    Column("category", Integer, nullable=False),
    #: A JSON array; text, so that a look-up needs no conversion by SQLAlchemy.
    Column("tags", Text, nullable=False),
    #: Name and description as `services.kit.text.fold` makes them alike, for searching.
    Column("search_text", Text, nullable=False),
    #: Unix microseconds.
    Column("created_at", BigInteger, nullable=False),
    Column("updated_at", BigInteger, nullable=False),
    #: Counts the edits.
    Column("version", BigInteger, nullable=False, server_default="1"),
    Index("product_category", "category", "id"),
    Index("product_by_price", "price", "id"),
    Index("product_by_category_price", "category", "price", "id"),
    sqlite_autoincrement=True,  # an id is never given twice
)

reservation = Table(
    "reservation",
    metadata,
    Column("key", Text, primary_key=True),
    Column("released", Boolean, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    #: The kind of its last movement in the ledger. NULL: written by a version without a ledger.
    Column("entered", Text),
)

reservation_item = Table(
    "reservation_item",
    metadata,
    Column("key", Text, ForeignKey("reservation.key"), primary_key=True),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("product_id", Integer, nullable=False),
    Column("quantity", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("category", Integer, nullable=False),
)

#: What a movement of each kind may change; the schema enforces it.
MOVEMENT_RULE = """
    (kind IN ('seed', 'receive') AND stock_change > 0 AND held_change = 0)
    OR (kind = 'reserve' AND stock_change < 0 AND held_change = -stock_change)
    OR (kind = 'release' AND stock_change > 0 AND held_change = -stock_change)
    OR (kind = 'ship' AND stock_change = 0 AND held_change < 0)
    OR (kind = 'correct' AND stock_change <> 0 AND held_change = 0)
"""

#: The ledger. Rows are only ever added, in the transaction that changes `product.stock`. They outlive their
#: product and their reservation, so there are no foreign keys.
movement = Table(
    "stock_movement",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("product_id", Integer, nullable=False),
    Column("kind", Text, nullable=False),
    Column("stock_change", BigInteger, nullable=False),
    Column("held_change", BigInteger, nullable=False),
    #: NULL if it was entered afterwards, see `services.product.stock.SqlStock.adopt`.
    Column("stock_after", BigInteger),
    #: The key of the reservation or the adjustment; NULL if there is none.
    Column("key", Text),
    Column("note", Text, nullable=False),
    Column("user_id", Integer, nullable=False),
    Column("at", BigInteger, nullable=False),
    CheckConstraint(MOVEMENT_RULE, name="stock_movement_rule"),
    Index("stock_movement_product", "product_id", "id"),
    #: A reservation reserves, releases and ships a product once.
    Index("stock_movement_key", "key", "product_id", "kind", unique=True),
    sqlite_autoincrement=True,
)

#: Reservations that the ledger lacks: made, or given back, by a version without one. A partial index, see the
#: migration; saying it here would load PostgreSQL's dialect on SQLite, too.
NOT_ENTERED = text("entered IS NULL OR (released AND entered = 'reserve')")

#: Reservations whose release is in the ledger. It must be literally the condition of another partial index:
#: otherwise a database does not use the index.
SPENT = text("released AND entered = 'release'")
