"""One database for a service: SQLite or PostgreSQL, told apart by the URL alone.

SQLite is shared by several replica processes: write-ahead log, so that readers and the one writer do
not wait for each other; write transactions take the lock when they begin (`BEGIN IMMEDIATE`), because a
reader that turns writer half-way fails at once instead of waiting (https://sqlite.org/isolation.html);
one writing connection a process, so that its writers queue fairly instead of polling for the lock.
PostgreSQL: one schema per service through `search_path`.
"""

import asyncio
import functools
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiosqlite
from sqlalchemy import Select, Table, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from mesh.config import ConfigError
from mesh.errors import Unavailable

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

#: Seconds that a transaction waits for its turn before it fails with Unavailable.
LOCK_TIMEOUT = 5.0
#: Seconds after which PostgreSQL ends a statement.
STATEMENT_TIMEOUT = 10.0
#: Reading connections of a process; on PostgreSQL all its connections.
POOL_SIZE = 5
#: Seconds after which the caller may try again.
RETRY_AFTER = 0.1

_SQLITE_TRANSIENT = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)
#: SQLSTATE classes: connection, resources, operator; and single states: serialization, deadlock, lock.
_POSTGRES_TRANSIENT = ("08", "53", "57", "40001", "40P01", "55P03")


def database_url(service: str, environ: Mapping[str, str]) -> str:
    """Where a service stores: MESHMART_DATABASE_URL, else `<service>.db` in MESHMART_DATA_DIR.

    Raises:
        ConfigError: if neither is set.
    """
    if url := environ.get("MESHMART_DATABASE_URL", ""):
        return url
    if directory := environ.get("MESHMART_DATA_DIR", ""):
        return f"sqlite+aiosqlite:///{Path(directory) / service}.db"
    raise ConfigError(["MESHMART_DATABASE_URL or MESHMART_DATA_DIR: one must be set"])


class Database:
    """One process's connections to one service's tables, for SQLAlchemy Core statements."""

    def __init__(self, url: str, service: str, *, lock_timeout: float = LOCK_TIMEOUT) -> None:
        """
        Args:
            url: `sqlite+aiosqlite:///PATH` or `postgresql+asyncpg://…` (`postgresql://` will do).
            service: The schema on PostgreSQL.
            lock_timeout: Seconds.
        """
        self.service = service
        self.url = _with_driver(make_url(url))
        self._timeout = lock_timeout
        self._reader, self._writer = self._engines()
        self._plain: aiosqlite.Connection | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, service: str, *, lock_timeout: float = LOCK_TIMEOUT) -> AsyncIterator[Self]:
        """The database, closed at the end of the block."""
        db = cls(url, service, lock_timeout=lock_timeout)
        try:
            if db.is_sqlite:
                await db._prepare_file()
                db._plain = await aiosqlite.connect(str(db.url.database), isolation_level=None)
            yield db
        finally:
            await db.close()

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """For reading. Each statement sees the last commit (there is no transaction around several).

        Raises:
            Unavailable: if no connection comes free in time or the database is out of reach.
        """
        async with _translated(), self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """For writing: committed at the end of the block, rolled back if it raises. Keep it short.

        sqlalchemy.exc.IntegrityError passes through, for the caller to say what it means; catch it
        outside the block, as PostgreSQL ends the transaction with it.

        Raises:
            Unavailable: if the lock is not had in time or the database is out of reach.
        """
        async with _translated(), self._writer.begin() as connection:
            yield connection

    async def lookup(self, statement: Select[Any], **parameters: int | str) -> Sequence[Any] | None:
        """The first row of a hot read: on SQLite at about a tenth of what SQLAlchemy's way costs (50 us).

        That way hops between the threads of loop and driver four times or more; this one hops once.

        Args:
            statement: A constant, with a `bindparam` for each parameter. It is compiled once. Its columns
                are numbers and text: nothing converts them.
        """
        if self._plain is None:
            async with self.session() as connection:
                row: Sequence[Any] | None = (await connection.execute(statement, parameters)).first()
                return row
        sql, names = _compiled(statement)
        async with _translated():
            rows = await self._plain.execute_fetchall(sql, [parameters[name] for name in names])
        first: Sequence[Any] | None = next(iter(rows), None)
        return first

    def insert(self, table: Table) -> "sqlite.Insert | postgresql.Insert":
        """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`, alike in both dialects."""
        if self.is_sqlite:
            return sqlite.insert(table)
        from sqlalchemy.dialects import postgresql  # megabytes that a process on SQLite does without

        return postgresql.insert(table)

    async def close(self) -> None:
        """Closes every connection."""
        if self._plain is not None:
            await self._plain.close()
        await self._reader.dispose()
        await self._writer.dispose()

    def _engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        if self.is_sqlite:
            # Readers begin nothing, so there is nothing to roll back either.
            reader = self._sqlite_engine(
                POOL_SIZE, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True
            )
            writer = self._sqlite_engine(1)
            event.listen(writer.sync_engine, "begin", _begin_immediate)
            return reader, writer
        writer = self._postgres_engine()
        # Shares the pool; without a transaction a read is one round trip instead of three.
        return writer.execution_options(isolation_level="AUTOCOMMIT"), writer

    def _sqlite_engine(self, pool_size: int, **options: Any) -> AsyncEngine:
        # isolation_level None: the driver begins no transaction of its own accord.
        arguments: dict[str, Any] = {"timeout": self._timeout, "isolation_level": None}
        engine = create_async_engine(
            self.url,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=self._timeout,
            hide_parameters=True,  # or the text of an error, which is logged, tells what is stored
            connect_args=arguments,
            **options,
        )
        event.listen(engine.sync_engine, "connect", _set_pragmas)
        return engine

    def _postgres_engine(self) -> AsyncEngine:
        settings = {
            "search_path": self.service,
            "statement_timeout": str(round(STATEMENT_TIMEOUT * 1000)),
            "lock_timeout": str(round(self._timeout * 1000)),
            "application_name": f"meshmart-{self.service}",
        }
        return create_async_engine(
            self.url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=self._timeout,
            hide_parameters=True,  # or the text of an error, which is logged, tells what is stored
            pool_pre_ping=True,
            connect_args={"server_settings": settings, "timeout": self._timeout},
        )

    async def _prepare_file(self) -> None:
        """Puts the file into WAL mode, which lasts. Of two that do it at once, one fails without waiting."""
        try:
            Path(self.url.database or "").parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise Unavailable(f"cannot open the database of {self.service}: {e}") from e
        give_up = asyncio.get_running_loop().time() + self._timeout
        while True:
            try:
                async with self._reader.connect() as connection:
                    await connection.exec_driver_sql("PRAGMA journal_mode = WAL")
                return
            except OperationalError as e:
                if not _is_transient(e) or asyncio.get_running_loop().time() > give_up:
                    raise Unavailable(f"cannot open the database of {self.service}: {e.orig}") from e
                await asyncio.sleep(0.02)


def _with_driver(url: URL) -> URL:
    drivers = {
        "postgresql": "postgresql+asyncpg",
        "postgres": "postgresql+asyncpg",
        "sqlite": "sqlite+aiosqlite",
    }
    return url.set(drivername=drivers.get(url.drivername, url.drivername))


@functools.lru_cache(maxsize=64)
def _compiled(statement: Select[Any]) -> tuple[str, tuple[str, ...]]:
    """SQL with question marks, and the names of the parameters in their order."""
    compiled = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    return str(compiled), tuple(compiled.positiontup or ())


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # Safe against a crash of the process in WAL mode; a power cut may cost the last commits, never the file.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


@asynccontextmanager
async def _translated() -> AsyncIterator[None]:
    """Turns what will pass by itself into Unavailable; leaves everything else as it is."""
    try:
        yield
    except PoolTimeout as e:
        raise Unavailable("the database is busy", RETRY_AFTER) from e
    except IntegrityError:
        raise
    except (DBAPIError, sqlite3.Error) as e:
        if not _is_transient(e):
            raise
        raise Unavailable("the database is busy or out of reach", RETRY_AFTER) from e
    except (ConnectionError, TimeoutError) as e:
        raise Unavailable("the database is out of reach", RETRY_AFTER) from e


def _is_transient(error: DBAPIError | sqlite3.Error) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _SQLITE_TRANSIENT  # the low byte is the primary code
    return str(getattr(original, "sqlstate", None) or "").startswith(_POSTGRES_TRANSIENT)
