"""Figures in SQL."""

from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.analytics.domain import (
    METRICS,
    ORDERS,
    REVENUE,
    REVENUE_BY_PRODUCT,
    UNITS_BY_PRODUCT,
    VIEWS,
    Dashboard,
    Event,
    Kind,
    Metric,
    Place,
    Sales,
    tally,
)
from services.analytics.tables import metrics, placed_orders, progress, seen
from services.kit.db import Database
from services.kit.retention import delete_oldest, drop_old

#: The channel of notifications.
CHANNEL = "figures"


class SqlStore:
    """The `services.analytics.ports.Store` in SQLite or PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def record(self, events: Sequence[Event]) -> int:
        """Count the events that have not been counted. Return how many that were."""
        return await self._db.write(lambda connection: self._record(connection, events))

    def _record(self, connection: sa.Connection, events: Sequence[Event]) -> int:
        # Lock the row first: this serializes those who count, and prevents deadlocks.
        cursor = connection.scalar(_LOCK)
        fresh = self._fresh(connection, events)
        orders = self._new_orders(connection, fresh)
        added = tally(fresh, orders)
        if added:
            self._add(connection, added, cursor or 0)
            self._db.notify(connection, CHANNEL)
        return len(fresh)

    async def series(self, name: str, start: int, end: int, limit: int) -> Sequence[Metric]:
        """Return a metric's figures of the minutes in [start, end), in order."""
        within = (metrics.c.name == name, metrics.c.minute >= start, metrics.c.minute < end)
        order = (metrics.c.minute, metrics.c.product_id)
        return await self._metrics(sa.select(metrics).where(*within).order_by(*order).limit(limit))

    async def dashboard(self, start: int, end: int, top: int) -> Dashboard:
        """Return sums over the minutes in [start, end), with the `top` products."""
        within = sa.and_(metrics.c.minute >= start, metrics.c.minute < end)
        shown = within & metrics.c.name.in_([ORDERS, REVENUE, VIEWS])
        by_minute = await self._metrics(
            sa.select(metrics).where(shown).order_by(metrics.c.minute, metrics.c.name)
        )
        totals: dict[str, int] = {}
        for metric in by_minute:
            totals[metric.place.name] = totals.get(metric.place.name, 0) + metric.value
        return Dashboard(totals, await self._top(within, top), by_minute)

    async def since(self, names: Sequence[str], cursor: int, limit: int) -> Sequence[Metric]:
        """Return figures that changed after a cursor, in the order of their last changes."""
        changed = (metrics.c.cursor > cursor, metrics.c.name.in_(names))
        return await self._metrics(sa.select(metrics).where(*changed).order_by(metrics.c.cursor).limit(limit))

    async def version(self) -> int:
        """Return the cursor of the last change."""
        return await self._db.read(lambda connection: connection.scalar(sa.select(progress.c.cursor))) or 0

    async def forget(self, before: float) -> None:
        """Delete what is older than the Unix time `before`."""
        for table in (seen, placed_orders):
            await drop_old(self._db, delete_oldest(table, table.c.at, table.c.at < before))
        for name in METRICS:  # the key begins with the name
            old = (metrics.c.name == name, metrics.c.minute < before)
            await drop_old(self._db, delete_oldest(metrics, metrics.c.minute, *old))

    def _fresh(self, connection: sa.Connection, events: Sequence[Event]) -> list[Event]:
        by_id = {event.event_id: event for event in reversed(events)}  # the first of two with the same id
        rows = [{"event_id": event.event_id, "at": event.at} for event in by_id.values()]
        # Rows are passed as parameters: inside the statement, they would make it compile anew each time.
        statement = self._db.insert(seen).on_conflict_do_nothing().returning(seen.c.event_id)
        new = set(connection.scalars(statement, rows))
        return [event for event in by_id.values() if event.event_id in new]

    def _new_orders(self, connection: sa.Connection, events: Sequence[Event]) -> set[int]:
        placed = {e.order_id: e.at for e in events if e.kind is Kind.ORDER_PLACED and e.order_id}
        if not placed:
            return set()
        rows = [{"order_id": order_id, "at": at} for order_id, at in placed.items()]
        insert = self._db.insert(placed_orders).on_conflict_do_nothing()
        return set(connection.scalars(insert.returning(placed_orders.c.order_id), rows))

    def _add(self, connection: sa.Connection, added: Mapping[Place, int], cursor: int) -> None:
        insert = self._db.insert(metrics)
        more = {"value": metrics.c.value + insert.excluded.value, "cursor": insert.excluded.cursor}
        rows = [
            {
                "name": place.name,
                "minute": place.minute,
                "product_id": place.product_id,
                "value": value,
                "cursor": number,
            }
            for number, (place, value) in enumerate(sorted(added.items()), cursor + 1)
        ]
        key = ["name", "minute", "product_id"]
        connection.execute(insert.on_conflict_do_update(index_elements=key, set_=more), rows)
        connection.execute(sa.update(progress).values(cursor=cursor + len(rows)))

    async def _top(self, within: sa.ColumnElement[bool], limit: int) -> list[Sales]:
        def total(name: str) -> sa.ColumnElement[Any]:
            return sa.func.sum(sa.case((metrics.c.name == name, metrics.c.value), else_=0))

        units, revenue = total(UNITS_BY_PRODUCT).label("units"), total(REVENUE_BY_PRODUCT).label("revenue")
        statement = (
            sa.select(metrics.c.product_id, units, revenue)
            .where(within, metrics.c.name.in_([UNITS_BY_PRODUCT, REVENUE_BY_PRODUCT]))
            .group_by(metrics.c.product_id)
            .order_by(revenue.desc(), metrics.c.product_id)
            .limit(limit)
        )
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return [Sales(row.product_id, int(row.units), int(row.revenue)) for row in rows]

    async def _metrics(self, statement: sa.Select[Any]) -> list[Metric]:
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return [Metric(Place(r.name, r.minute, r.product_id), r.value, r.cursor) for r in rows]


_LOCK = sa.update(progress).values(cursor=progress.c.cursor).returning(progress.c.cursor)
