"""What is old is dropped in pieces, by every service, on either database: no statement may take long."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import sqlalchemy as sa

from services.analytics import storage as analytics
from services.analytics.domain import ORDERS, UNITS_BY_PRODUCT
from services.analytics.tables import metrics, placed_orders, seen
from services.chat import storage as chat
from services.chat.tables import messages, rooms
from services.kit.db import Database
from services.kit.retention import PIECE
from services.notification import storage as notification
from services.notification.tables import notifications, users
from services.product.stock import SqlStock
from services.product.tables import reservation, reservation_item
from tests.databases import Maker

NUMBER = 2 * PIECE + 7
#: Old is what is from before this, in Unix seconds.
NOW = 1_767_225_600
Rows = Sequence[Mapping[str, Any]]


def _figures() -> dict[sa.Table, Rows]:
    numbers = range(1, NUMBER + 1)
    old: Rows = [_figure(UNITS_BY_PRODUCT, NOW - 60, n, n) for n in numbers]
    return {
        seen: [{"event_id": f"e{n}", "at": NOW - n} for n in numbers] + [{"event_id": "new", "at": NOW}],
        placed_orders: [{"order_id": n, "at": NOW - n} for n in numbers]
        + [{"order_id": NUMBER + 1, "at": NOW}],
        metrics: [*old, _figure(ORDERS, NOW, 0, NUMBER + 1)],
    }


def _figure(name: str, minute: int, product_id: int, cursor: int) -> Mapping[str, Any]:
    return {"name": name, "minute": minute, "product_id": product_id, "value": 1, "cursor": cursor}


def _messages() -> dict[sa.Table, Rows]:
    said = {"room": "r", "user_id": 2, "user_name": "u", "text": "t"}
    rows: Rows = [
        {**said, "cursor": n, "sent_at": NOW - 1 if n <= NUMBER else NOW} for n in range(1, NUMBER + 2)
    ]
    return {rooms: [{"id": "r", "cursor": NUMBER + 1}], messages: rows}


def _notifications() -> dict[sa.Table, Rows]:
    told = {"user_id": 2, "kind": "ORDER", "title": "t", "body": "b"}
    rows: Rows = [
        {**told, "cursor": n, "created_at": NOW - 1 if n <= NUMBER else NOW} for n in range(1, NUMBER + 2)
    ]
    return {users: [{"id": 2, "cursor": NUMBER + 1}], notifications: rows}


def _reservations() -> dict[sa.Table, Rows]:
    spent = {"released": True, "entered": "release"}
    item = {"position": 0, "product_id": 1, "quantity": 1, "name": "n", "price": 1, "category": 1}
    keys = [f"order-{n}" for n in range(NUMBER + 1)]
    at = (NOW - 60) * 1_000_000
    rows: Rows = [{**spent, "key": key, "created_at": at} for key in keys[1:]]
    held = {"key": keys[0], "released": False, "entered": "reserve", "created_at": at}
    return {reservation: [held, *rows], reservation_item: [{**item, "key": key} for key in keys]}


#: By service: what is stored, and what forgets it.
SERVICES: dict[str, tuple[Callable[[], dict[sa.Table, Rows]], Callable[[Database], Awaitable[object]]]] = {
    "analytics": (_figures, lambda db: analytics.SqlStore(db).forget(NOW)),
    "chat": (_messages, lambda db: chat.SqlStore(db).forget(NOW)),
    "notification": (_notifications, lambda db: notification.SqlStore(db).forget(NOW)),
    "product": (_reservations, lambda db: SqlStock(db, lambda: NOW * 1_000_000).forget(30)),
}


@pytest.fixture
def deleted() -> Iterator[list[int]]:
    """How many rows each DELETE statement deletes."""
    counts: list[int] = []

    def count(_: object, cursor: Any, statement: str, *__: object) -> None:
        if statement.startswith("DELETE"):
            counts.append(cursor.rowcount)

    sa.event.listen(sa.Engine, "after_cursor_execute", count)
    yield counts
    sa.event.remove(sa.Engine, "after_cursor_execute", count)


@asynccontextmanager
async def _filled(new_databases: Maker, service: str) -> AsyncIterator[Database]:
    url = new_databases(service).url(service)
    async with Database.open(url, service, lock_timeout=60) as db:
        for table, rows in SERVICES[service][0]().items():
            await db.write(lambda c, table=table, rows=rows: c.execute(sa.insert(table), rows))  # type: ignore[misc]
        yield db


@pytest.mark.parametrize("service", SERVICES)
async def test_no_statement_deletes_more_than_a_piece(
    new_databases: Maker, deleted: list[int], service: str
) -> None:
    async with _filled(new_databases, service) as db:
        await SERVICES[service][1](db)
        left = {table: await _count(db, table) for table in SERVICES[service][0]()}
    assert max(deleted) == PIECE
    assert set(left.values()) == {1}


async def _count(db: Database, table: sa.Table) -> int:
    return await db.read(lambda c: c.scalar(sa.select(sa.func.count()).select_from(table))) or 0
