"""The catalogue and its stock in SQLite or PostgreSQL."""

import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Integer,
    MetaData,
    Select,
    Table,
    Text,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    update,
)

from services.kit.db import Database
from services.kit.paging import Page
from services.kit.retention import in_pieces
from services.kit.text import fold
from services.kit.validation import INT32_MAX
from services.product.domain import (
    Category,
    Criteria,
    Draft,
    Product,
    Ranking,
    Reservation,
    ReservedItem,
    StockUnit,
    Taken,
    Wish,
)

T = TypeVar("T")
metadata = MetaData()

product = Table(
    "product",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text),
    Column("description", Text),
    Column("price", BigInteger),
    Column("stock", BigInteger),
    Column("category", Integer),
    #: A JSON array; text, so that a look-up needs no conversion by SQLAlchemy.
    Column("tags", Text),
    Column("created_at", BigInteger),
    Column("updated_at", BigInteger),
    #: Name and description, folded: SQLite's own LIKE and lower() know ASCII only.
    Column("search_text", Text),
)
reservation = Table(
    "reservation",
    metadata,
    Column("key", Text, primary_key=True),
    Column("released", Boolean),
    Column("created_at", BigInteger),
)
reservation_item = Table(
    "reservation_item",
    metadata,
    Column("key", Text, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("product_id", Integer),
    Column("quantity", BigInteger),
    Column("name", Text),
    Column("price", BigInteger),
    Column("category", Integer),
)

#: Products read at a time by a search.
_BATCH = 100
_COLUMNS = tuple(c for c in product.c if c.name != "search_text")
_NAMES = tuple(c.name for c in _COLUMNS)
_BY_ID = select(*_COLUMNS).where(product.c.id == bindparam("id"))


def row_of(draft: Draft, now: int) -> dict[str, Any]:
    """The columns that a draft determines."""
    return {
        "name": draft.name,
        "description": draft.description,
        "price": draft.price,
        "stock": draft.stock,
        "category": int(draft.category),
        "tags": json.dumps(draft.tags, ensure_ascii=False),
        "search_text": fold(f"{draft.name}\n{draft.description}"),
        "updated_at": now,
    }


def now_us() -> int:
    """Unix microseconds."""
    return time.time_ns() // 1000


class SqlProducts:
    """The port `ProductStore`."""

    def __init__(self, db: Database, clock: Callable[[], int] = now_us) -> None:
        self._db, self._clock = db, clock

    async def get(self, product_id: int) -> Product | None:
        row = await self._db.lookup(_BY_ID, id=product_id)
        return _product(row) if row else None

    async def page(self, category: Category, page: Page) -> Sequence[Product]:
        statement = _filtered(category).order_by(product.c.id).limit(page.limit).offset(page.offset)
        return await self._products(statement)

    async def search(self, criteria: Criteria) -> AsyncIterator[Product]:
        matching, last = _matching(criteria), 0
        while True:
            # No connection is held while the caller reads.
            found = await self._products(matching.where(product.c.id > last))
            for each in found:
                yield each
            if len(found) < _BATCH:
                return
            last = found[-1].id

    async def add(self, drafts: Sequence[Draft]) -> Sequence[Product]:
        now = self._clock()
        rows = [{**row_of(draft, now), "created_at": now} for draft in drafts]
        statement = insert(product).returning(*_COLUMNS, sort_by_parameter_order=True)
        return [_product(row) for row in await self._db.write(lambda c: c.execute(statement, rows).all())]

    async def candidates(self, wish: Wish, limit: int) -> Sequence[Product]:
        # The database only sieves, alike on SQLite and PostgreSQL; what fits how well, the domain says.
        hits = [_mentions(stem) for stem in wish.stems]
        count = sum((case((hit, 1), else_=0) for hit in hits), literal(0))
        statement = _bounded(_filtered(wish.category), wish.min_price, wish.max_price)
        if hits:
            statement = statement.where(or_(*hits))
        by_price = {Ranking.CHEAPEST: product.c.price, Ranking.DEAREST: product.c.price.desc()}
        ranking = [by_price[wish.ranking]] if wish.ranking in by_price else []
        return await self._products(statement.order_by(count.desc(), *ranking, product.c.id).limit(limit))

    async def replace(self, product_id: int, draft: Draft) -> Product | None:
        change = update(product).where(product.c.id == product_id).values(row_of(draft, self._clock()))
        row = await self._db.write(lambda c: c.execute(change.returning(*_COLUMNS)).first())
        return _product(row) if row else None

    async def remove(self, product_id: int) -> bool:
        statement = delete(product).where(product.c.id == product_id)
        return await self._db.write(lambda c: c.execute(statement).rowcount > 0)

    async def _products(self, statement: Select[Any]) -> list[Product]:
        return [_product(row) for row in await self._db.read(lambda c: c.execute(statement).all())]


def _product(row: Sequence[Any]) -> Product:
    """From a row of `_COLUMNS`, which are named as the fields."""
    values = dict(zip(_NAMES, row, strict=True))
    return Product(**{**values, "tags": json.loads(values["tags"])})


def _filtered(category: Category) -> Select[Any]:
    statement = select(*_COLUMNS)
    return statement.where(product.c.category == int(category)) if category else statement


def _matching(criteria: Criteria) -> Select[Any]:
    statement = _filtered(criteria.category).order_by(product.c.id).limit(_BATCH)
    if criteria.query:
        statement = statement.where(product.c.search_text.contains(fold(criteria.query), autoescape=True))
    return _bounded(statement, criteria.min_price, criteria.max_price)


def _bounded(statement: Select[Any], min_price: int, max_price: int) -> Select[Any]:
    if min_price:
        statement = statement.where(product.c.price >= min_price)
    if max_price:
        statement = statement.where(product.c.price <= max_price)
    return statement


def _mentions(stem: str) -> ColumnElement[bool]:
    tags = func.lower(product.c.tags)
    return product.c.search_text.contains(stem, autoescape=True) | tags.contains(stem, autoescape=True)


class SqlStock:
    """The port `Stock`."""

    def __init__(self, db: Database, clock: Callable[[], int] = now_us) -> None:
        self._db, self._clock = db, clock

    async def at_once(self, work: Callable[[StockUnit], T]) -> T:
        return await self._db.write(lambda connection: work(_Unit(self._db, connection, self._clock())))

    async def forget(self, kept: float) -> int:
        """Drops reservations that were released and are older than so many seconds, long after any call could
        ask for them; how many that were."""
        before = self._clock() - round(kept * 1e6)
        old = (reservation.c.released.is_(True), reservation.c.created_at < before)

        def drop(c: Connection, most: int) -> int:
            spent = c.scalars(select(reservation.c.key).where(*old).limit(most)).all()
            c.execute(delete(reservation_item).where(reservation_item.c.key.in_(spent)))
            return c.execute(delete(reservation).where(reservation.c.key.in_(spent))).rowcount

        return await in_pieces(lambda most: self._db.write(lambda c: drop(c, most)))


#: One conditional statement: no other transaction can come between looking and taking.
_TAKE = (
    update(product)
    .where(product.c.id == bindparam("of_id"), product.c.stock >= bindparam("taken"))
    .values(stock=product.c.stock - bindparam("taken"))
    .returning(product.c.name, product.c.price, product.c.category)
)


class _Unit:
    def __init__(self, db: Database, connection: Connection, now: int) -> None:
        self._db, self._c, self._now = db, connection, now

    def claim(self, key: str, *, released: bool) -> bool:
        row = {"key": key, "released": released, "created_at": self._now}
        result = self._c.execute(self._db.insert(reservation).on_conflict_do_nothing(), row)
        return result.rowcount > 0

    def find(self, key: str) -> Reservation | None:
        columns = (c for c in reservation_item.c if c.name not in ("key", "position"))
        items = select(*columns).where(reservation_item.c.key == key).order_by(reservation_item.c.position)
        rows = self._c.execute(items).all()
        # Last: where retention has dropped the reservation meanwhile, its items do not count either.
        released = self._c.scalar(select(reservation.c.released).where(reservation.c.key == key))
        if released is None:
            return None
        return Reservation(key, bool(released), tuple(ReservedItem(*row) for row in rows))

    def take(self, product_id: int, quantity: int) -> Taken | None:
        row = self._c.execute(_TAKE, {"of_id": product_id, "taken": quantity}).first()
        return Taken(*row) if row else None

    def in_stock(self, product_id: int) -> int | None:
        return self._c.scalar(select(product.c.stock).where(product.c.id == product_id))

    def record(self, key: str, items: Sequence[ReservedItem]) -> None:
        rows = [
            {
                "key": key,
                "position": position,
                "product_id": item.product_id,
                "quantity": item.quantity,
                "name": item.name,
                "price": item.price,
                "category": int(item.category),
            }
            for position, item in enumerate(items)
        ]
        self._c.execute(insert(reservation_item), rows)

    def close(self, key: str) -> bool:
        held = (reservation.c.key == key) & reservation.c.released.is_(False)
        return self._c.execute(update(reservation).where(held).values(released=True)).rowcount > 0

    def give_back(self, product_id: int, quantity: int) -> None:
        least = func.min if self._db.is_sqlite else func.least
        stock = least(product.c.stock + quantity, INT32_MAX)
        self._c.execute(update(product).where(product.c.id == product_id).values(stock=stock))
