"""Reads the books: straight from the services' databases, as an auditor may and nobody else does."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from meshmart.books import model
from meshmart.books.model import Books
from meshmart.errors import CommandError
from services.notification import tables as notification_tables
from services.order import tables as order_tables
from services.order.news import NOTIFICATIONS
from services.payment import tables as payment_tables
from services.product import tables as product_tables
from services.product.seed import drafts

#: In the order of reading: what an order's books refer to is read after them, so it is there.
_SERVICES = ("order", "payment", "product", "notification")
_OPTIONAL = frozenset({"notification"})
_TIMEOUT = 10.0
#: Seconds by which the clocks of order and notification may differ.
_SKEW = 300.0


async def read(data: Path, environ: Mapping[str, str]) -> Books:
    """The books of a shop that runs or not.

    Args:
        data: Where the SQLite files lie.
        environ: MESHMART_DATABASE_URL, where it is set, goes before them.

    Raises:
        CommandError: there are no books, or they cannot be read.
    """
    url = environ.get("MESHMART_DATABASE_URL", "")
    try:
        return await (_on_postgres(url) if url else asyncio.to_thread(_on_sqlite, data))
    except ArgumentError:  # its text may hold the password
        raise CommandError("MESHMART_DATABASE_URL must be postgresql://…") from None
    except (DBAPIError, OSError, TimeoutError) as e:
        raise CommandError(f"the books cannot be read: {getattr(e, 'orig', None) or e}") from None


def _on_sqlite(data: Path) -> Books:
    present = [name for name in _SERVICES if (data / f"{name}.db").exists()]
    if missing := [n for n in _SERVICES if n not in present and n not in _OPTIONAL]:
        raise CommandError(f"there are no books of {', '.join(missing)} in {data}")
    with _sqlite(data, present).begin() as connection:
        return _Reader(connection, present).books()


async def _on_postgres(url: str) -> Books:
    engine = _postgres(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(lambda c: _Reader(c, _SERVICES).books())
    finally:
        await engine.dispose()


# Either is one connection that sees each service's tables in a schema of the service's name.


def _sqlite(data: Path, present: Sequence[str]) -> sa.Engine:
    engine = sa.create_engine(
        "sqlite:///file::memory:?uri=true",
        poolclass=NullPool,
        connect_args={"timeout": _TIMEOUT, "isolation_level": None},
    )

    @sa.event.listens_for(engine, "connect")
    def attach(connection: Any, _: object) -> None:
        for name in present:
            location = (data / f"{name}.db").resolve().as_uri() + "?mode=ro"
            connection.execute(f'ATTACH DATABASE ? AS "{name}"', (location,))

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN")  # a snapshot of each file, from its first read on

    return engine


def _postgres(url: str) -> AsyncEngine:
    from services.kit import dsn

    parsed = make_url(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise CommandError("MESHMART_DATABASE_URL must be postgresql://…")
    told = dsn.parse(parsed)
    return create_async_engine(
        told.url,
        poolclass=NullPool,
        isolation_level="REPEATABLE READ",  # one snapshot of all services
        connect_args={"timeout": _TIMEOUT} | told.dialect_arguments,
    )


class _Reader:
    """One transaction's view."""

    def __init__(self, connection: sa.Connection, present: Sequence[str]) -> None:
        self._connection, self._present = connection, present

    def books(self) -> Books:
        orders = self._all("order", order_tables.orders, model.Order)
        items = self._all("order", order_tables.items, model.Item)
        history = self._all("order", order_tables.events, model.Change)
        outbox, dead_letters = self._outbox()
        payments = self._all("payment", payment_tables.payments, model.Payment)
        refunds = self._all("payment", payment_tables.refunds, model.Refund)
        ledger = self._all("payment", payment_tables.ledger, model.Entry)
        reservations, reserved = self._reservations()
        notifications, since = self._notifications()
        return Books(
            orders=orders,
            items=items,
            history=history,
            outbox=outbox,
            dead_letters=dead_letters,
            payments=payments,
            refunds=refunds,
            ledger=ledger,
            products=self._products(),
            reservations=reservations,
            reserved=reserved,
            seeded={number: draft.stock for number, draft in enumerate(drafts(), 1)},
            notifications=notifications,
            notified_since=since,
        )

    def _outbox(self) -> tuple[list[str], list[str]]:
        table = order_tables.metadata.tables["outbox"]
        rows = self._rows("order", sa.select(table.c.topic, table.c.event_id, table.c.refused))
        dead = [f"{row.event_id} for {row.topic}: {row.refused}" for row in rows if row.refused is not None]
        return [row.event_id for row in rows if row.topic == NOTIFICATIONS], dead

    def _products(self) -> list[model.Product]:
        columns, moved = product_tables.product.c, product_tables.movement.c
        by_admins = moved.kind.in_(["receive", "correct"])
        edited = sa.exists().where(moved.product_id == columns.id, by_admins).label("edited")
        statement = sa.select(columns.id, columns.stock, edited)
        return [model.Product(*row) for row in self._rows("product", statement)]

    def _reservations(self) -> tuple[dict[str, bool], dict[str, Counter[int]]]:
        table, item = product_tables.reservation, product_tables.reservation_item
        # The items first: those of a reservation that comes between are of no consequence.
        statement = sa.select(item.c.key, item.c.product_id, item.c.quantity)
        reserved: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for row in self._rows("product", statement):
            reserved[row.key][row.product_id] += row.quantity
        rows = self._rows("product", sa.select(table.c.key, table.c.released))
        return {row.key: bool(row.released) for row in rows}, dict(reserved)

    def _notifications(self) -> tuple[list[str] | None, float]:
        """Event ids, and the time since which all are there."""
        if "notification" not in self._present:
            return None, 0.0
        table = notification_tables.notifications
        if not sa.inspect(self._connection).has_table(table.name, schema="notification"):
            return None, 0.0
        statement = sa.select(table.c.event_id).where(table.c.event_id.is_not(None))
        told = [row.event_id for row in self._rows("notification", statement)]
        # Afterwards: what was dropped meanwhile is known to be.
        dropped = self._rows("notification", sa.select(notification_tables.forgotten.c.before))
        return told, max((row.before + _SKEW for row in dropped), default=0.0)

    def _all(self, service: str, table: sa.Table, kind: Any) -> list[Any]:
        """A dataclass a row; its fields are named as the columns."""
        columns = [table.c[field.name] for field in fields(kind)]
        return [kind(*row) for row in self._rows(service, sa.select(*columns))]

    def _rows(self, service: str, statement: sa.Select[Any]) -> Sequence[Any]:
        options = {"schema_translate_map": {None: service}}
        return self._connection.execute(statement, execution_options=options).all()
