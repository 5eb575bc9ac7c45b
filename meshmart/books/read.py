"""Opens the books, which are the services' databases. Only an auditor may read all of them.

One connection sees each service's tables in a schema named like the service, in one snapshot. On PostgreSQL a
transaction provides that. SQLite has a file for each service, and a transaction has a snapshot of each from
its first read on: the snapshots are taken again until nobody has committed to any file meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from grpcmesh.config import ConfigError
from meshmart.books import check, orders
from meshmart.books.model import Books, Change, Order
from meshmart.books.verdict import Verdict
from meshmart.errors import CommandError

#: A table of each service.
_SERVICES = {"order": "orders", "payment": "payments", "product": "product", "notification": "notifications"}
_OPTIONAL = frozenset({"notification"})
_TIMEOUT = 10.0
#: Seconds for which a common snapshot of SQLite's files is tried.
_SNAPSHOT_TIMEOUT = 5.0

T = TypeVar("T")
#: Called with the connection, and whether the shop has notifications.
Work = Callable[[sa.Connection, bool], T]


async def audit(data: Path, environ: Mapping[str, str]) -> Verdict:
    """Check the books of a shop, whether or not it runs.

    Args:
        data: The directory of the SQLite files.
        environ: MESHMART_DATABASE_URL, if set, takes precedence over them.

    Raises:
        CommandError: there are no books, or they cannot be read.
    """
    return await reading(data, environ, lambda c, notified: check.audit(c, notified=notified))


async def read(data: Path, environ: Mapping[str, str]) -> Books:
    """Return what a scene, a test or a benchmark has placed. Arguments and errors are those of `audit`."""

    def placed(connection: sa.Connection, _: bool) -> Books:
        placed = [Order(*row) for row in connection.execute(sa.text(orders.PLACED))]
        return Books(placed, [Change(*row) for row in connection.execute(sa.text(orders.HISTORY))])

    return await reading(data, environ, placed)


async def reading(data: Path, environ: Mapping[str, str], work: Work[T]) -> T:
    """Return the result of `work` on the books. Other arguments and errors are those of `audit`."""
    url = environ.get("MESHMART_DATABASE_URL", "")
    try:
        if url:
            return await _on_postgres(url, work)
        return await asyncio.to_thread(_on_sqlite, data, work)
    except ConfigError as e:
        raise CommandError(str(e)) from None
    except (DBAPIError, OSError, TimeoutError) as e:
        raise CommandError(f"the books cannot be read: {getattr(e, 'orig', None) or e}") from None


def _on_sqlite(data: Path, work: Work[T]) -> T:
    present = [name for name in _SERVICES if (data / f"{name}.db").exists()]
    if missing := [n for n in _SERVICES if n not in present and n not in _OPTIONAL]:
        raise CommandError(f"there are no books of {', '.join(missing)} in {data}")
    engine = _sqlite(data, present)
    with engine.connect() as connection, engine.connect() as watch:
        _snapshot(connection, watch, present)
        return work(connection, _notified(connection, present))


async def _on_postgres(url: str, work: Work[T]) -> T:
    engine = _postgres(url)
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(lambda c: work(c, _notified(c, list(_SERVICES))))
    finally:
        await engine.dispose()


def _notified(connection: sa.Connection, present: Sequence[str]) -> bool:
    table = _SERVICES["notification"]
    return "notification" in present and sa.inspect(connection).has_table(table, schema="notification")


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

    return engine


def _snapshot(connection: sa.Connection, watch: sa.Connection, present: Sequence[str]) -> None:
    """Begin a transaction that sees all files as they were at one moment.

    If the files are written to all the time, it sees them as they were within some milliseconds.
    """
    give_up = time.monotonic() + _SNAPSHOT_TIMEOUT
    while True:
        before = _versions(watch, present)
        connection.exec_driver_sql("BEGIN")
        for name in present:
            connection.exec_driver_sql(f'SELECT 1 FROM "{name}".{_SERVICES[name]} LIMIT 1').all()
        if _versions(watch, present) == before or time.monotonic() > give_up:
            return
        connection.exec_driver_sql("ROLLBACK")


def _versions(watch: sa.Connection, present: Sequence[str]) -> list[int]:
    """Return the files' data versions, which change with each commit
    (https://www.sqlite.org/pragma.html#pragma_data_version).
    """
    return [watch.exec_driver_sql(f'PRAGMA "{name}".data_version').scalar_one() for name in present]


def _postgres(url: str) -> AsyncEngine:
    from services.kit import dsn

    parsed = dsn.url_of(url)
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise CommandError("MESHMART_DATABASE_URL must be postgresql://…")
    told = dsn.parse(parsed)
    return create_async_engine(
        told.url,
        poolclass=NullPool,
        isolation_level="REPEATABLE READ",  # one snapshot of all services
        connect_args={"timeout": _TIMEOUT} | told.dialect_arguments,
    )
