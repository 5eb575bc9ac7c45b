"""SQLite, shared by several replica processes. See `services.kit.db`.

Statements run in the event loop's own thread. One takes 10 to 50 us here; a hop to a driver's thread and
back takes longer than that, and aiosqlite under SQLAlchemy hopped four times a statement: a third of the
CPU of an order (docs/orders-cost.md). What may take long does not run there: waiting for another process's
lock is a wait of the loop, and writing the log back into the file (which syncs the disk) has a thread.
"""

import asyncio
import functools
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, closing
from itertools import islice
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Select, event
from sqlalchemy.dialects import registry
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, Pool
from sqlalchemy.util import await_only

from mesh.errors import Unavailable
from services.kit.background import repeating
from services.kit.transient import is_transient

#: Reading connections of a process.
READERS = 5
#: Seconds between two attempts to get the lock: the first wait, doubled up to the last.
FIRST_WAIT, LAST_WAIT = 0.001, 0.05
#: Seconds for which a reader blocks the loop where it must wait: only while another process repairs the log
#: that a killed one left, which takes milliseconds.
READ_TIMEOUT = 0.2
#: Seconds between two checkpoints.
CHECKPOINT = 2.0
DRIVER = "sqlite+inline"


class InlineCursor(sqlite3.Cursor):
    """Has all rows as soon as it has executed, so that no statement stays open across an await."""

    _rows: Iterator[Any] = iter(())

    def execute(self, *arguments: Any) -> Self:
        """As its parent does."""
        super().execute(*arguments)
        self._rows = iter(super().fetchall())
        return self

    def fetchone(self) -> Any:
        """The next row, or None."""
        return next(self._rows, None)

    def fetchmany(self, size: int | None = 1) -> list[Any]:
        """The next rows."""
        return list(islice(self._rows, size))

    def fetchall(self) -> list[Any]:
        """The rows that are left."""
        return list(self._rows)

    async def _async_soft_close(self) -> None:
        """Where an AsyncConnection has a driver read what is left: there is nothing."""


class InlineConnection(sqlite3.Connection):
    """Of such cursors."""

    def cursor(self, *_: Any) -> InlineCursor:  # type: ignore[override]
        """As its parent does."""
        return super().cursor(InlineCursor)


class InlineDialect(SQLiteDialect_pysqlite):
    """The standard library's driver as it is, under an AsyncEngine: see the module."""

    driver = "inline"
    is_async = True
    supports_statement_cache = True

    @classmethod
    def get_pool_class(cls, url: URL) -> type[Pool]:
        """One whose waits are the loop's."""
        return AsyncAdaptedQueuePool

    def do_execute(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """As its parent does."""
        await_only(_nothing())
        cursor.execute(statement, parameters)

    def do_executemany(self, cursor: Any, statement: str, parameters: Any, context: Any = None) -> None:
        """As its parent does."""
        await_only(_nothing())
        cursor.executemany(statement, parameters)


async def _nothing() -> None:
    """For an AsyncConnection, which takes a driver for a wrong one that never awaits."""


def engines(url: URL, timeout: float) -> tuple[AsyncEngine, AsyncEngine]:
    """For reading and for writing. `timeout` is the seconds to wait for a lock or a connection."""
    # Readers begin nothing, so there is nothing to roll back either.
    reader = _engine(
        url, timeout, READERS, READ_TIMEOUT, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
    )
    writer = _engine(url, timeout, 1, 0.0)  # `_begin_immediate` waits
    event.listen(writer.sync_engine, "begin", lambda connection: _begin_immediate(connection, timeout))
    return reader, writer


@asynccontextmanager
async def checkpoints(path: str) -> AsyncIterator[None]:
    """Writes the log back into the file now and then, until the end of the block."""
    async with repeating(lambda: asyncio.to_thread(_checkpoint, path), CHECKPOINT, "checkpoints"):
        yield


def _checkpoint(path: str) -> None:
    # A connection of its own each time: a thread that is given up may still be at it when all others close.
    with closing(sqlite3.connect(f"{Path(path).resolve().as_uri()}?mode=rw", timeout=0, uri=True)) as own:
        # As far as that disturbs nobody. Of several replicas one does it, the others find it done.
        own.execute("PRAGMA wal_checkpoint(PASSIVE)")


def connect(path: str) -> sqlite3.Connection:
    """A connection without SQLAlchemy, for reading."""
    return sqlite3.connect(path, timeout=READ_TIMEOUT, isolation_level=None)


def _engine(url: URL, timeout: float, pool_size: int, busy: float, **options: Any) -> AsyncEngine:
    # isolation_level None: the driver begins no transaction of its own accord.
    engine = inline_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        hide_parameters=True,  # or the text of an error, which is logged, tells what is stored
        connect_args={"timeout": busy, "isolation_level": None},
        **options,
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


def inline_engine(url: URL, connect_args: Mapping[str, Any], **options: Any) -> AsyncEngine:
    """An engine of the inline driver."""
    registry.register(DRIVER.replace("+", "."), __name__, InlineDialect.__name__)
    arguments = {**connect_args, "factory": InlineConnection}
    return create_async_engine(url.set(drivername=DRIVER), connect_args=arguments, **options)


async def prepare_file(reader: AsyncEngine, service: str, timeout: float) -> None:
    """Puts the file into WAL mode, which lasts. Of two that do it at once, one fails without waiting."""
    try:
        Path(reader.url.database or "").parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Unavailable(f"cannot open the database of {service}: {e}") from e
    give_up = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            async with reader.connect() as connection:
                await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            return
        except OperationalError as e:
            if not is_transient(e) or asyncio.get_running_loop().time() > give_up:
                raise Unavailable(f"cannot open the database of {service}: {e.orig}") from e
            await asyncio.sleep(0.02)


@functools.lru_cache(maxsize=64)
def compiled(statement: Select[Any]) -> tuple[str, tuple[str, ...]]:
    """SQL with question marks, and the names of the parameters in their order."""
    made = statement.compile(dialect=InlineDialect(paramstyle="qmark"))
    return str(made), tuple(made.positiontup or ())


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # Safe against a crash of the process in WAL mode; a power cut may cost the last commits, never the file.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.execute("PRAGMA wal_autocheckpoint = 0")  # `checkpoints` does it
    cursor.close()


def _begin_immediate(connection: Connection, timeout: float) -> None:
    give_up, wait = time.monotonic() + timeout, FIRST_WAIT
    while True:
        try:
            connection.connection.driver_connection.execute("BEGIN IMMEDIATE")  # type: ignore[union-attr]
            return
        except sqlite3.OperationalError as e:
            if not is_transient(e) or time.monotonic() > give_up:
                raise
        await_only(asyncio.sleep(wait))
        wait = min(2 * wait, LAST_WAIT)
