"""One database for a service: SQLite or PostgreSQL, told apart by the URL alone.

SQLite is shared by several replica processes: write-ahead log, so that readers and the one writer do
not wait for each other; write transactions take the lock when they begin (`BEGIN IMMEDIATE`), because a
reader that turns writer half-way fails at once instead of waiting (https://sqlite.org/isolation.html);
one writing connection a process, so that its writers queue fairly instead of polling for the lock.
PostgreSQL: one schema per service through `search_path`, perhaps behind PgBouncer; a small pool a process; a
connection that the database has closed is replaced when it is next taken. Connecting is left to the first
use, so a service starts whether or not the database is there.

A transaction is a function of a connection, `work`, that SQLAlchemy runs from its begin to its commit: on
SQLite in a thread, so that the event loop waits for it once and never for the disk; on PostgreSQL in the
loop, where each statement gives way to others. So `work` awaits nothing and calls nobody else, and no
transaction stays open longer than its own statements take.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar

from sqlalchemy import Connection, Select, Table
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from grpcmesh.config import ConfigError
from services.kit import deeds, sqlite
from services.kit.transient import translated

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    from services.kit.bell import Bell

#: Seconds that a transaction waits for its turn before it fails with Unavailable.
LOCK_TIMEOUT = 5.0
#: Seconds after which PostgreSQL ends a statement.
STATEMENT_TIMEOUT = 10.0
#: Seconds between two looks for changes where notices tell of them: only for those that were lost.
SAFETY_TICK = 1.0
#: Where a connection keeps the notices of its transaction until the commit.
_NOTICES = "meshmart notices"

T = TypeVar("T")
Work = Callable[[Connection], T]


class Engine(Protocol):
    """Runs transactions on one kind of database."""

    async def read(self, work: Work[T]) -> T: ...

    async def write(self, work: Work[T]) -> T: ...

    async def alone(self, work: Work[T]) -> T: ...

    def filled(self) -> AbstractAsyncContextManager[None]: ...

    async def close(self) -> None: ...


def database_url(service: str, environ: Mapping[str, str]) -> str:
    """Where a service stores: MESHMART_DATABASE_URL, else `<service>.db` in MESHMART_DATA_DIR.

    Raises:
        ConfigError: if neither is set.
    """
    if url := environ.get("MESHMART_DATABASE_URL", ""):
        return url
    if directory := environ.get("MESHMART_DATA_DIR", ""):
        return f"sqlite:///{Path(directory) / service}.db"
    raise ConfigError(["MESHMART_DATABASE_URL or MESHMART_DATA_DIR: one must be set"])


class Database:
    """One process's connections to one service's tables, for SQLAlchemy Core statements."""

    def __init__(
        self,
        url: str,
        service: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        statement_timeout: float = STATEMENT_TIMEOUT,
    ) -> None:
        """
        Args:
            url: `sqlite:///PATH` or `postgresql://…` (see `services.kit.dsn`).
            service: The schema on PostgreSQL.
            lock_timeout: Seconds.
            statement_timeout: Seconds after which PostgreSQL ends a statement.

        Raises:
            ConfigError: the URL is none of those.
        """
        self.service = service
        try:
            self.url = make_url(url)
        except ArgumentError as e:  # its text may hold the password
            raise ConfigError(["MESHMART_DATABASE_URL: must be sqlite:///PATH or postgresql://…"]) from e
        self._timeout, self._statement_timeout = lock_timeout, statement_timeout
        self._bell: Bell | None = None
        self._engine = self._made()

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        service: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        statement_timeout: float = STATEMENT_TIMEOUT,
    ) -> AsyncIterator[Self]:
        """The database, closed at the end of the block. See `Database` for the arguments."""
        db = cls(url, service, lock_timeout=lock_timeout, statement_timeout=statement_timeout)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(db._engine.close)
            if isinstance(db._engine, sqlite.Threads):
                await db._engine.prepare_file(service)
            else:
                await stack.enter_async_context(db._engine.filled())
            if db._bell is not None:
                await stack.enter_async_context(db._bell.running())
            yield db

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    async def read(self, work: Work[T]) -> T:
        """What `work` returns. Each statement sees the last commit (there is no transaction around several).

        Rows are to be fetched in `work`: after it the connection is somebody else's.

        Raises:
            Unavailable: if no connection comes free in time or the database is out of reach.
        """
        async with translated():
            return await self._engine.read(work)

    async def write(self, work: Work[T]) -> T:
        """What `work` returns, once that is committed; rolled back if it raises.

        If the call being served is to be in the audit log, its entry is in the same transaction: see
        `services.kit.deeds`.

        Where the caller is cancelled, it may be committed nevertheless, as where the caller crashes.
        sqlalchemy.exc.IntegrityError passes through, for the caller to say what it means; catch it
        outside of `work`, as PostgreSQL ends the transaction with it.

        Raises:
            Unavailable: if the lock is not had in time or the database is out of reach.
        """
        deed = deeds.current()
        if deed is None:
            return await self._write(work)
        result = await self._write(deeds.noting(deed, work))
        deed.noted = True
        return result

    async def _write(self, work: Work[T]) -> T:
        if self._bell is None:
            async with translated():
                return await self._engine.write(work)
        notices: set[tuple[str, str]] = set()

        def noting(connection: Connection) -> T:
            connection.info[_NOTICES] = notices
            return work(connection)

        async with translated():
            result = await self._engine.write(noting)
        for channel, payload in notices:
            self._bell.ring(channel, payload)
        return result

    async def alone(self, work: Work[T]) -> T:
        """What `work` returns, which begins and commits its transactions itself; for migrations.

        On SQLite it is one transaction, as with `write`.

        Raises:
            Unavailable: if a lock is not had in time or the database is out of reach.
        """
        async with translated():
            return await self._engine.alone(work)

    def notify(self, connection: Connection, channel: str, payload: str = "") -> None:
        """Tells the listeners of all replicas, once `connection`'s transaction is committed.

        Not on SQLite, and not through a pooler that shares its connections by the transaction.

        A notice makes haste but may be lost; see `services.kit.bell`.

        Args:
            connection: Of `write`.
            channel: A short name.
            payload: Such as the key of what changed; at most 7,000 bytes.
        """
        if self._bell is not None:
            connection.info[_NOTICES].add((channel, payload))

    @asynccontextmanager
    async def listen(self, channel: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        """Calls `callback` with the payload of each notice, until the end of the block."""
        if self._bell is None:
            yield
        else:
            with self._bell.listening(channel, callback):
                yield

    def tick(self, seconds: float) -> float:
        """How often to look for changes that `notify` tells of: as given where it tells nobody, else
        `SAFETY_TICK`."""
        return seconds if self._bell is None else max(seconds, SAFETY_TICK)

    async def lookup(self, statement: Select[Any], **parameters: int | str) -> Sequence[Any] | None:
        """The first row of a hot read.

        Args:
            statement: A constant, with a `bindparam` for each parameter: SQLAlchemy compiles it once.
        """
        return await self.read(lambda connection: connection.execute(statement, parameters).first())

    def insert(self, table: Table) -> "sqlite_dialect.Insert | postgresql.Insert":
        """An INSERT that has `on_conflict_do_nothing` and `on_conflict_do_update`, alike in both dialects."""
        if self.is_sqlite:
            return sqlite_dialect.insert(table)
        from sqlalchemy.dialects import postgresql  # megabytes that a process on SQLite does without

        return postgresql.insert(table)

    def _made(self) -> Engine:
        match self.url.get_backend_name():
            case "sqlite":
                self.url = self.url.set(drivername="sqlite")
                return sqlite.Threads(self.url, self._timeout)
            case "postgresql" | "postgres":
                return self._on_postgres()
            case other:
                raise ConfigError([f"MESHMART_DATABASE_URL: {other!r} is neither sqlite nor postgresql"])

    def _on_postgres(self) -> Engine:
        from services.kit import bell, dsn, postgres  # megabytes that a process on SQLite does without

        told = dsn.parse(self.url)
        self.url = told.url
        if told.pooling != "transaction":  # LISTEN needs a connection of its own
            self._bell = bell.Bell(
                lambda: postgres.connect(told, self.service, self._timeout), prefix=self.service
            )
        return postgres.Pool(told, self.service, self._timeout, self._statement_timeout)
