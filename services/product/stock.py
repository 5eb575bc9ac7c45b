"""Stock, reservations and the ledger in SQLite or PostgreSQL.

A product's stock is changed by conditional statements, each in one transaction with its ledger entry. On
PostgreSQL the product's row is locked from the change to the commit, so the entries of a product are numbered
in the order of their commits.
"""

import contextlib
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from grpcmesh.errors import NotFound
from services.kit.db import Database
from services.kit.keyset import read_page
from services.kit.paging import Page, Slice
from services.kit.retention import expire, in_pieces
from services.kit.unique import insert_or_find
from services.kit.validation import INT32_MAX
from services.product.domain import Reservation, ReservedItem, StockUnit, Taken
from services.product.ledger import Adjustment, Kind, Movement
from services.product.tables import NOT_ENTERED, SPENT, movement, product, reservation, reservation_item

#: Microseconds within which a client that knows no field mask is expected to send back a product it has read.
ECHO_WINDOW = 3600 * 1_000_000
#: The most movements that are searched for the stock that such a client has read.
MAX_LATELY = 1000

T = TypeVar("T")


def now_us() -> int:
    """Return the time in Unix microseconds."""
    return time.time_ns() // 1000


def enter(c: Connection, movements: Sequence[Movement], now: int) -> None:
    """Add movements to the ledger, in the transaction that changes the stock.

    `now` is in Unix microseconds.
    """
    if movements:
        c.execute(insert(movement), [_row(each, now) for each in movements])


def lately(c: Connection, product_id: int, now: int) -> set[int]:
    """Return the values that a product's stock has had within `ECHO_WINDOW`, since it was last received or
    corrected.
    """
    latest = (
        select(movement.c.stock_after, movement.c.kind, movement.c.at)
        .where(movement.c.product_id == product_id)
        .order_by(movement.c.id.desc())
        .limit(MAX_LATELY)
    )
    stocks: set[int] = set()
    for stock_after, kind, at in c.execute(latest):
        if stock_after is not None:
            stocks.add(stock_after)
        # The stock before the window's first movement was there in the window, too.
        if at < now - ECHO_WINDOW or Kind(kind) not in (Kind.RESERVE, Kind.RELEASE, Kind.SHIP):
            break
    return stocks


class SqlStock:
    """Implements the port `Stock`."""

    def __init__(self, db: Database, clock: Callable[[], int] = now_us) -> None:
        self._db, self._clock = db, clock

    async def at_once(self, work: Callable[[StockUnit], T]) -> T:
        return await self._db.write(lambda connection: work(_Unit(self._db, connection, self._clock())))

    async def adjust(self, wanted: Adjustment) -> Adjustment:
        async def make() -> Adjustment | None:
            with contextlib.suppress(IntegrityError):  # the key is taken
                await self._db.write(lambda c: _adjust(c, wanted, self._clock()))
                return wanted
            return None

        async def find() -> Adjustment | None:
            key = movement.c.key == _adjustment_key(wanted)
            row = await self._db.read(lambda c: c.execute(select(movement).where(key)).first())
            return None if row is None else _adjustment(row, wanted.key)

        if wanted.key is not None and (found := await find()) is not None:
            return found
        made, _ = await insert_or_find(make, find)
        return made

    async def movements(self, product_id: int, page: Page) -> Slice[Movement]:
        own = select(movement).where(movement.c.product_id == product_id)
        rows = await self._db.read(lambda c: read_page(c, own, movement.c.id, page, newest_first=True))
        return rows.map(_movement)

    async def adopt(self) -> int:
        """Enter into the ledger what versions without one did to reservations. Return how many reservations.

        That is what was held when the ledger began, and what old replicas do in a rolling upgrade.
        """
        lacking = select(reservation.c.key).where(NOT_ENTERED)

        def adopt(c: Connection, most: int) -> int:
            keys = c.scalars(lacking.limit(most).with_for_update(skip_locked=True)).all()
            _adopt(c, keys, self._clock())
            return len(keys)

        return await in_pieces(lambda most: self._db.write(lambda c: adopt(c, most)))

    async def forget(self, kept: float) -> int:
        """Delete released reservations older than `kept` seconds. Return how many.

        Any call that could ask for them has ended long before.
        """
        before = self._clock() - round(kept * 1e6)
        # Reservations that the ledger lacks are kept until they are entered.
        old = (SPENT, reservation.c.created_at < before)

        def drop(c: Connection, most: int) -> int:
            oldest = select(reservation.c.key).where(*old).order_by(reservation.c.created_at).limit(most)
            spent = c.scalars(oldest.with_for_update(skip_locked=True)).all()
            c.execute(delete(reservation_item).where(reservation_item.c.key.in_(spent)))
            return c.execute(delete(reservation).where(reservation.c.key.in_(spent))).rowcount

        return await expire(self._db, drop)


#: One conditional statement, so that no other transaction can come between the check and the change.
_TAKE = (
    update(product)
    .where(product.c.id == bindparam("of_id"), product.c.stock >= bindparam("taken"))
    .values(stock=product.c.stock - bindparam("taken"))
    .returning(product.c.name, product.c.price, product.c.category, product.c.stock)
)
_GIVE_BACK = (
    update(product)
    .where(product.c.id == bindparam("of_id"))
    .values(stock=product.c.stock + bindparam("given"))
    .returning(product.c.stock)
)
_STATE = select(reservation.c.released, reservation.c.entered).where(reservation.c.key == bindparam("of_key"))


class _Unit:
    def __init__(self, db: Database, connection: Connection, now: int) -> None:
        self._db, self._c, self._now = db, connection, now

    def claim(self, key: str, *, released: bool) -> bool:
        entered = Kind.RELEASE if released else Kind.RESERVE
        row = {"key": key, "released": released, "created_at": self._now, "entered": entered.value}
        result = self._c.execute(self._db.insert(reservation).on_conflict_do_nothing(), row)
        return result.rowcount > 0

    def find(self, key: str) -> Reservation | None:
        columns = (c for c in reservation_item.c if c.name not in ("key", "position"))
        items = select(*columns).where(reservation_item.c.key == key).order_by(reservation_item.c.position)
        rows = self._c.execute(items).all()
        # Read last: if retention has deleted the reservation meanwhile, its items do not count either.
        state = self._c.execute(_STATE, {"of_key": key}).first()
        if state is None:
            return None
        held = tuple(ReservedItem(*row) for row in rows)
        return Reservation(key, bool(state.released), held, state.entered == Kind.SHIP.value)

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

    def close(self, key: str, kind: Kind) -> bool:
        state = self._c.execute(_STATE.with_for_update(), {"of_key": key}).first()
        if state is None or state.released or state.entered == Kind.SHIP.value:
            return False
        if state.entered is None:  # the ledger must have the reservation before its end
            _adopt(self._c, [key], self._now)
        changes = {"released": kind is Kind.RELEASE, "entered": kind.value}
        self._c.execute(update(reservation).where(reservation.c.key == key).values(changes))
        return True

    def give_back(self, product_id: int, quantity: int) -> int | None:
        # No upper bound: units must not get lost. The wire shows at most an int32.
        stock: int | None = self._c.scalar(_GIVE_BACK, {"of_id": product_id, "given": quantity})
        return stock

    def enter(self, movements: Sequence[Movement]) -> None:
        enter(self._c, movements, self._now)


def _adjust(c: Connection, wanted: Adjustment, now: int) -> None:
    after = product.c.stock + wanted.change
    fits = (after >= 0) if wanted.change < 0 else (after <= INT32_MAX)
    change = update(product).where(product.c.id == wanted.product_id, fits).values(stock=after)
    stock_after = c.scalar(change.returning(product.c.stock))
    if stock_after is None:
        stock = c.scalar(select(product.c.stock).where(product.c.id == wanted.product_id))
        raise NotFound("product", str(wanted.product_id)) if stock is None else wanted.refusal(stock)
    key, change_by = _adjustment_key(wanted), wanted.change
    made = Movement(
        wanted.product_id, wanted.kind, change_by, 0, stock_after, key, wanted.note, wanted.user_id
    )
    enter(c, [made], now)


def _adjustment_key(wanted: Adjustment) -> str | None:
    # The prefix separates them from the keys of reservations, which are in the same column.
    return None if wanted.key is None else f"adjust/{wanted.key}"


def _adjustment(row: Row[Any], key: str | None) -> Adjustment:
    return Adjustment(row.product_id, row.stock_change, Kind(row.kind), row.note, key, row.user_id)


def _adopt(c: Connection, keys: Sequence[str], now: int) -> None:
    """Enter the movements of these reservations that the ledger lacks."""
    if not keys:
        return
    lacking = reservation.c.key.in_(keys)
    gone = ~select(product.c.id).where(product.c.id == reservation_item.c.product_id).exists()
    released = reservation.c.released.is_(True)
    _adopt_as(c, Kind.RESERVE, -1, 1, (lacking, reservation.c.entered.is_(None)), now)
    _adopt_as(c, Kind.RELEASE, 1, -1, (lacking, released), now)
    _adopt_as(c, Kind.CORRECT, -1, 0, (lacking, released, gone), now)
    state = case((released, Kind.RELEASE.value), else_=Kind.RESERVE.value)
    c.execute(update(reservation).where(lacking).values(entered=state))


def _adopt_as(
    c: Connection, kind: Kind, stock: int, held: int, those: Sequence[ColumnElement[bool]], now: int
) -> None:
    item, quantity = reservation_item.c, func.sum(reservation_item.c.quantity)
    values = {
        "product_id": item.product_id,
        "kind": literal(kind.value),
        "stock_change": stock * quantity,
        "held_change": held * quantity,
        "key": item.key,
        "note": literal("by a version without a ledger"),
        "user_id": literal(0),
        "at": literal(now, BigInteger),
    }
    units = select(*values.values()).join(reservation, reservation.c.key == item.key).where(*those)
    c.execute(insert(movement).from_select(list(values), units.group_by(item.key, item.product_id)))


def _row(entry: Movement, now: int) -> dict[str, Any]:
    return {
        "product_id": entry.product_id,
        "kind": entry.kind.value,
        "stock_change": entry.stock_change,
        "held_change": entry.held_change,
        "stock_after": entry.stock_after,
        "key": entry.key,
        "note": entry.note,
        "user_id": entry.user_id,
        "at": now,
    }


def _movement(row: Row[Any]) -> Movement:
    return Movement(**{**row._mapping, "kind": Kind(row.kind)})
