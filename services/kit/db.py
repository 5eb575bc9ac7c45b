"""One database for a service: SQLite or PostgreSQL, told apart by the URL alone.

SQLite is shared by several replica processes: write-ahead log, so that readers and the one writer do
not wait for each other; write transactions take the lock when they begin (`BEGIN IMMEDIATE`), because a
reader that turns writer half-way fails at once instead of waiting (https://sqlite.org/isolation.html);
one writing connection a process, so that its writers queue fairly instead of polling for the lock.
PostgreSQL: one schema per service through `search_path`; a small pool a process; a connection that the
database has closed is replaced when it is next taken. Connecting is left to the first use, so a service
starts whether or not the database is there.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import aiosqlite
from sqlalchemy import Select, Table
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from mesh.config import ConfigError
from services.kit import sqlite
from services.kit.transient import translated

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    from services.kit.bell import Bell

#: Seconds that a transaction waits for its turn before it fails with Unavailable.
LOCK_TIMEOUT = 5.0
#: Seconds between two looks for changes where notices tell of them: only for those that were lost.
SAFETY_TICK = 1.0
#: Where a connection keeps the notices of its transaction until the commit.
_NOTICES = "meshmart notices"


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
            url: `sqlite+aiosqlite:///PATH` or `postgresql://…`, which may end in `?pool_size=3`.
            service: The schema on PostgreSQL.
            lock_timeout: Seconds.

        Raises:
            ConfigError: the URL is none of those.
        """
        self.service = service
        try:
            self.url = make_url(url)
        except ArgumentError as e:  # its text may hold the password
            raise ConfigError(["MESHMART_DATABASE_URL: must be sqlite:///PATH or postgresql://…"]) from e
        self._timeout = lock_timeout
        self._plain: aiosqlite.Connection | None = None
        self._bell: Bell | None = None
        self._reader, self._writer = self._engines()

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, service: str, *, lock_timeout: float = LOCK_TIMEOUT) -> AsyncIterator[Self]:
        """The database, closed at the end of the block."""
        db = cls(url, service, lock_timeout=lock_timeout)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(db.close)
            if db.is_sqlite:
                await sqlite.prepare_file(db._reader, service, lock_timeout)
                db._plain = await aiosqlite.connect(str(db.url.database), isolation_level=None)
            if db._bell is not None:
                await stack.enter_async_context(db._bell.running())
            yield db

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncConnection]:
        """For reading. Each statement sees the last commit (there is no transaction around several).

        Raises:
            Unavailable: if no connection comes free in time or the database is out of reach.
        """
        async with translated(), self._reader.connect() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncConnection]:
        """For writing: committed at the end of the block, rolled back if it raises. Keep it short.

        sqlalchemy.exc.IntegrityError passes through, for the caller to say what it means; catch it
        outside the block, as PostgreSQL ends the transaction with it.

        Raises:
            Unavailable: if the lock is not had in time or the database is out of reach.
        """
        notices: set[tuple[str, str]] = set()
        async with translated(), self._writer.begin() as connection:
            if self._bell is not None:
                connection.info[_NOTICES] = notices
            yield connection
        if self._bell is not None:
            for channel, payload in notices:
                self._bell.ring(channel, payload)

    async def notify(self, session: AsyncConnection, channel: str, payload: str = "") -> None:
        """Tells the listeners of all replicas, once `session`'s transaction is committed. Not on SQLite.

        A notice makes haste but may be lost; see `services.kit.bell`.

        Args:
            session: Of `transaction()`.
            channel: A short name.
            payload: Such as the key of what changed; at most 7,000 bytes.
        """
        if self._bell is not None:
            session.info[_NOTICES].add((channel, payload))

    @asynccontextmanager
    async def listen(self, channel: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        """Calls `callback` with the payload of each notice, until the end of the block. Never on SQLite."""
        if self._bell is None:
            yield
        else:
            with self._bell.listening(channel, callback):
                yield

    def tick(self, seconds: float) -> float:
        """How often to look for changes that `notify` tells of: as given on SQLite, else `SAFETY_TICK`."""
        return seconds if self.is_sqlite else max(seconds, SAFETY_TICK)

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
        sql, names = sqlite.compiled(statement)
        async with translated():
            rows = await self._plain.execute_fetchall(sql, [parameters[name] for name in names])
        first: Sequence[Any] | None = next(iter(rows), None)
        return first

    def insert(self, table: Table) -> "sqlite_dialect.Insert | postgresql.Insert":
        """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`, alike in both dialects."""
        if self.is_sqlite:
            return sqlite_dialect.insert(table)
        from sqlalchemy.dialects import postgresql  # megabytes that a process on SQLite does without

        return postgresql.insert(table)

    async def close(self) -> None:
        """Closes every connection."""
        if self._plain is not None:
            await self._plain.close()
        await self._reader.dispose()
        await self._writer.dispose()

    def _engines(self) -> tuple[AsyncEngine, AsyncEngine]:
        """For reading and for writing."""
        match self.url.get_backend_name():
            case "sqlite":
                self.url = self.url.set(drivername="sqlite+aiosqlite")
                return sqlite.engines(self.url, self._timeout)
            case "postgresql" | "postgres":
                return self._on_postgres()
            case other:
                raise ConfigError([f"MESHMART_DATABASE_URL: {other!r} is neither sqlite nor postgresql"])

    def _on_postgres(self) -> tuple[AsyncEngine, AsyncEngine]:
        from services.kit import bell, postgres  # megabytes that a process on SQLite does without

        self.url, pool_size = postgres.with_driver(self.url)
        writer = postgres.engine(self.url, self.service, self._timeout, pool_size)
        self._bell = bell.Bell(
            lambda: postgres.connect(self.url, self.service, self._timeout), prefix=self.service
        )
        # Shares the pool; without a transaction a read is one round trip instead of three.
        return writer.execution_options(isolation_level="AUTOCOMMIT"), writer
