"""Orders in SQL.

Every change is conditional on the version that it changes. Its history entry and its outbox events are
written in the same transaction.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import Any

import sqlalchemy as sa

from services.kit import outbox
from services.kit.db import Database
from services.kit.keyset import read_page
from services.kit.paging import Page, Slice
from services.kit.unique import insert_or_find
from services.order.domain import Address, Event, Line, Order, Status, Step
from services.order.failures import Failure, Superseded, order_not_found
from services.order.outbox_events import OutgoingEvent, outbox_events_of, shipping
from services.order.tables import events, items, orders

#: The channel that carries the id of a changed order; see `services.kit.following`.
CHANGES = "orders"


class SqlStore:
    """The `services.order.ports.Store` in SQLite or PostgreSQL.

    Args:
        db: The database with the service's tables.
        on_events: Called after a commit with outbox events; see `services.kit.relay`.
    """

    def __init__(self, db: Database, on_events: Callable[[], None] = lambda: None) -> None:
        self._db, self._on_events = db, on_events

    async def create(self, order: Order) -> tuple[Order, bool]:
        """Record an order unless the user's key is taken; see `services.order.ports.Store`."""
        under_key = sa.select(orders).where(orders.c.user_id == order.user_id, orders.c.key == order.key)

        async def insert() -> Order | None:
            return await self._db.write(lambda connection: self._create(connection, order))

        async def find() -> Order | None:
            return next(iter(await self._orders(under_key)), None)

        return await insert_or_find(insert, find)

    def _create(self, connection: sa.Connection, order: Order) -> Order | None:
        # Insert without reading first: nearly every order is new, and the constraint detects the others.
        insert = self._db.insert(orders).on_conflict_do_nothing(index_elements=["user_id", "key"])
        order_id = connection.scalar(insert.returning(orders.c.id), _columns(order))
        if order_id is None:
            return None
        order = replace(order, id=order_id)
        connection.execute(sa.insert(items), _item_rows(order))
        _append(connection, order, "received")
        return order

    async def get(self, order_id: int) -> Order:
        """Return an order. Raises NotFound."""
        found = await self._orders(sa.select(orders).where(orders.c.id == order_id))
        if not found:
            raise order_not_found(order_id)
        return found[0]

    async def save(
        self,
        order: Order,
        message: str = "",
        *,
        prices: bool = False,
        repaid: int = 0,
        arrived: bool = True,
    ) -> Order:
        """Record a change of `order.version`, or raise Superseded; see `services.order.ports.Store`."""
        following = replace(order, version=order.version + 1)
        changed = _columns(following) | {"of_id": order.id, "of_version": order.version}
        del changed["address"]  # it never changes, but may have been erased: see `erasure`
        events = outbox_events_of(following, repaid=repaid, arrived=arrived) if message else []

        def save(connection: sa.Connection) -> None:
            if connection.execute(_SAVE, changed).rowcount == 0:
                raise Superseded(f"order {order.id} version {order.version}")
            if prices:
                connection.execute(_PRICES, _item_rows(following, prefix="new_"))
            if message:
                _append(connection, following, message)
                self._db.notify(connection, CHANGES, str(order.id))
            outbox.add_all(connection, [_outbox_row(following, event) for event in events])

        await self._db.write(save)
        if events:
            self._on_events()
        return following

    async def backfill_events(self, now: float, limit: int) -> int:
        """Add missing outbox events of shipped orders; see the port."""

        def backfill(connection: sa.Connection) -> int:
            rows = connection.execute(_WITHOUT_EVENT, {"most": limit}).all()
            for shipped, ids in _by_shipping(rows).items():
                these = sa.update(orders).where(orders.c.id.in_(ids))
                connection.execute(these.values(ship_told=shipped))
                if shipped:
                    outbox.add_all(connection, [_shipping_row(order_id, now) for order_id in ids])
            return len(rows)

        count = await self._db.write(backfill)
        if count:
            self._on_events()
        return count

    async def page(self, user_id: int, status: Status | None, page: Page) -> Slice[Order]:
        """Return a page of a user's orders, or of everybody's for user 0, the newest first."""
        statement = sa.select(orders)
        if user_id:
            statement = statement.where(orders.c.user_id == user_id)
        if status is not None:
            statement = statement.where(orders.c.status == status.value)

        def found(connection: sa.Connection) -> Slice[Order]:
            rows = read_page(connection, statement, orders.c.id, page, newest_first=True)
            return Slice(_with_lines(connection, rows.items), rows.last)

        return await self._db.read(found)

    async def stuck(self, now: float, limit: int) -> Sequence[Order]:
        """Return orders with a step to do whose lease has ended, the longest waiting first."""
        statement = (
            sa.select(orders)
            .where(orders.c.step != Step.DONE.value, orders.c.lease_until < now)
            .order_by(orders.c.lease_until)
            .limit(limit)
        )
        return await self._orders(statement)

    async def events(self, order_id: int, after: int, limit: int) -> Sequence[Event]:
        """Return the order's changes after a cursor, the oldest first."""
        statement = (
            sa.select(events)
            .where(events.c.order_id == order_id, events.c.cursor > after)
            .order_by(events.c.cursor)
            .limit(limit)
        )
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return [_event(row) for row in rows]

    async def versions(self, order_ids: Sequence[int]) -> Mapping[int, int]:
        """Return the latest version of each order."""
        statement = sa.select(orders.c.id, orders.c.version).where(orders.c.id.in_(order_ids))
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return {row.id: row.version for row in rows}

    async def _orders(self, statement: sa.Select[Any]) -> list[Order]:
        def found(connection: sa.Connection) -> list[Order]:
            return _with_lines(connection, connection.execute(statement).all())

        return await self._db.read(found)


# Constants: SQLAlchemy takes longer to build such statements than SQLite to execute them.
_SAVE = sa.update(orders).where(
    orders.c.id == sa.bindparam("of_id"), orders.c.version == sa.bindparam("of_version")
)
_PRICES = (
    sa.update(items)
    .where(items.c.order_id == sa.bindparam("new_order_id"), items.c.position == sa.bindparam("new_position"))
    .values(name=sa.bindparam("new_name"), unit_price=sa.bindparam("new_unit_price"))
)


_WITHOUT_EVENT = (
    sa.select(orders.c.id, orders.c.status)
    .where(orders.c.ship_told.is_(None))
    .limit(sa.bindparam("most"))
    .with_for_update(skip_locked=True)
)
#: Statuses of shipped orders in the version that added no events, where REFUNDED only followed DELIVERED.
_HAS_SHIPPED = frozenset({Status.SHIPPED.value, Status.DELIVERED.value, Status.REFUNDED.value})


def _shipping_row(order_id: int, now: float) -> dict[str, Any]:
    key = f"order-{order_id}"
    event = shipping(key)
    return outbox.row(event.topic, key, event.event_id, event.payload, now)


def _by_shipping(rows: Iterable[Any]) -> Mapping[bool, list[int]]:
    """Return the ids of orders, grouped by whether their goods have left."""
    ids: defaultdict[bool, list[int]] = defaultdict(list)
    for row in rows:
        ids[row.status in _HAS_SHIPPED].append(row.id)
    return ids


def _append(connection: sa.Connection, order: Order, message: str) -> None:
    event = {
        "order_id": order.id,
        "cursor": order.version,
        "status": order.status.value,
        "message": message,
        "at": order.updated_at,
        "refunded": order.refunded,
    }
    connection.execute(sa.insert(events), event)


def _event(row: sa.Row[Any]) -> Event:
    return Event(row.order_id, row.cursor, Status(row.status), row.message, row.at, row.refunded)


def _outbox_row(order: Order, event: OutgoingEvent) -> dict[str, Any]:
    # The order's row was changed first, so that its events are numbered in the order of its versions.
    return outbox.row(event.topic, order.saga_key, event.event_id, event.payload, order.updated_at)


def _with_lines(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> list[Order]:
    lines = _lines(connection, [row.id for row in rows]) if rows else {}
    return [_order(row, tuple(lines[row.id])) for row in rows]


def _lines(connection: sa.Connection, order_ids: list[int]) -> Mapping[int, list[Line]]:
    statement = (
        sa.select(items).where(items.c.order_id.in_(order_ids)).order_by(items.c.order_id, items.c.position)
    )
    lines: defaultdict[int, list[Line]] = defaultdict(list)
    for row in connection.execute(statement):
        lines[row.order_id].append(Line(row.product_id, row.quantity, row.name, row.unit_price))
    return lines


def _item_rows(order: Order, prefix: str = "") -> list[dict[str, Any]]:
    rows = [
        {"order_id": order.id, "position": position, **asdict(line)}
        for position, line in enumerate(order.lines)
    ]
    return [{prefix + name: value for name, value in row.items()} for row in rows]


#: Fields that are stored as they are.
_PLAIN = [
    field.name
    for field in fields(Order)
    if field.name not in {"id", "lines", "status", "step", "address", "failure"}
]


def _columns(order: Order) -> dict[str, Any]:
    columns: dict[str, Any] = {name: getattr(order, name) for name in _PLAIN}
    return columns | {
        "status": order.status.value,
        "step": order.step.value,
        "address": asdict(order.address),
        "failure": asdict(order.failure) if order.failure else None,
    }


def _order(row: sa.Row[Any], lines: tuple[Line, ...]) -> Order:
    values = dict(row._mapping)
    return Order(
        **values
        | {
            "lines": lines,
            "status": Status(row.status),
            "step": Step(row.step),
            "address": Address(**row.address),
            "failure": Failure(**row.failure) if row.failure else None,
        }
    )
