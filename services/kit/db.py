"""One database for a service: SQLite or PostgreSQL, told apart by the URL alone.

SQLite is shared by several replica processes: write-ahead log, so that readers and the one writer do
not wait for each other; write transactions take the lock when they begin (`BEGIN IMMEDIATE`), because a
reader that turns writer half-way fails at once instead of waiting (https://sqlite.org/isolation.html);
one writing connection a process, so that its writers queue fairly instead of polling for the lock.
PostgreSQL: one schema per service through `search_path`, perhaps behind PgBouncer; a small pool per process;
a connection that the database has closed is replaced when it is next taken. Connecting is left to the first
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

from grpcmesh.config import ConfigError
from services.kit import audit_record, sqlite
from services.kit.db_metrics import DatabaseMetrics, Kind
from services.kit.dsn import url_of
from services.kit.statement_spans import StatementSpans
from services.kit.transient import translated

if TYPE_CHECKING:
    from sqlalchemy.dialects import postgresql

    from grpcmesh.telemetry.tracing import Tracer
    from services.kit.notifier import Notifier

#: Seconds that a transaction waits for a connection or a lock before it fails with Unavailable.
LOCK_TIMEOUT = 5.0
#: Seconds after which PostgreSQL ends a statement.
STATEMENT_TIMEOUT = 10.0
#: Seconds between two polls for changes where notifications announce them: only lost ones depend on the poll.
SAFETY_TICK = 1.0
#: The key in `Connection.info` under which a transaction's notifications are kept until the commit.
_NOTIFICATIONS = "meshmart notifications"

T = TypeVar("T")
Work = Callable[[Connection], T]


class Engine(Protocol):
    """Runs transactions on one kind of database."""

    @property
    def capacity(self) -> Mapping[Kind, int]:
        """The most connections of each kind of transaction."""
        ...

    async def read(self, work: Work[T]) -> T: ...

    async def write(self, work: Work[T]) -> T: ...

    async def alone(self, work: Work[T]) -> T: ...

    def filled(self) -> AbstractAsyncContextManager[None]: ...

    async def close(self) -> None: ...


def database_url(service: str, environ: Mapping[str, str]) -> str:
    """Return the URL of a service's database: MESHMART_DATABASE_URL, else `<service>.db` in
    MESHMART_DATA_DIR.

    Raises:
        ConfigError: if neither is set.
    """
    if url := environ.get("MESHMART_DATABASE_URL", ""):
        return url
    if directory := environ.get("MESHMART_DATA_DIR", ""):
        return f"sqlite:///{Path(directory) / service}.db"
    raise ConfigError(["MESHMART_DATABASE_URL or MESHMART_DATA_DIR: one must be set"])


class Database:
    """A process's connections to the tables of one service, for SQLAlchemy Core statements."""

    def __init__(
        self,
        url: str,
        service: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        statement_timeout: float = STATEMENT_TIMEOUT,
        tracer: "Tracer | None" = None,
    ) -> None:
        """
        Args:
            url: `sqlite:///PATH` or `postgresql://…` (see `services.kit.dsn`).
            service: The service's name, which is its schema on PostgreSQL.
            lock_timeout: Seconds to wait for a lock or a connection.
            statement_timeout: Seconds after which PostgreSQL ends a statement.
            tracer: Records a span for each statement of a sampled trace. If None, there are none.

        Raises:
            ConfigError: the URL has another form.
        """
        self.service = service
        self.url = url_of(url)
        self._timeout, self._statement_timeout = lock_timeout, statement_timeout
        self._notifier: Notifier | None = None
        self._engine = self._made()
        #: The metrics of the transactions. To expose them, use `telemetry.add(db.metrics)`.
        self.metrics = DatabaseMetrics(self._engine.capacity)
        self._spans = StatementSpans(tracer, self.url, service)

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        service: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT,
        statement_timeout: float = STATEMENT_TIMEOUT,
        tracer: "Tracer | None" = None,
    ) -> AsyncIterator[Self]:
        """Open the database; it is closed at the end of the block. See `Database` for the arguments."""
        db = cls(url, service, lock_timeout=lock_timeout, statement_timeout=statement_timeout, tracer=tracer)
        async with AsyncExitStack() as stack:
            stack.push_async_callback(db._engine.close)
            if isinstance(db._engine, sqlite.Threads):
                await db._engine.prepare_file(service)
            else:
                await stack.enter_async_context(db._engine.filled())
            if db._notifier is not None:
                await stack.enter_async_context(db._notifier.running())
            yield db

    @property
    def is_sqlite(self) -> bool:
        return self.url.get_backend_name() == "sqlite"

    async def read(self, work: Work[T]) -> T:
        """Return the result of `work`. Each statement sees the last commit: several share no transaction.

        Fetch rows inside `work`: afterwards the connection belongs to another caller.

        Raises:
            Unavailable: no connection became free in time, or the database is out of reach.
        """
        async with self.metrics.transaction("read") as this, translated():
            return await self._engine.read(this.noting(self._spans.recording(work)))

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction and return its result once it is committed. Roll back if it raises.

        If the current call belongs in the audit log, its entry is written in the same transaction: see
        `services.kit.audit_record`.

        If the caller is cancelled, the transaction may be committed nevertheless, as when the caller crashes.
        sqlalchemy.exc.IntegrityError passes through, so that the caller can say what it means. Catch it
        outside of `work`, because PostgreSQL ends the transaction with it.

        Raises:
            Unavailable: the lock was not acquired in time, or the database is out of reach.
        """
        record = audit_record.current()
        if record is None:
            return await self._write(work)
        result = await self._write(audit_record.writing(record, work))
        record.written = True
        return result

    async def _write(self, work: Work[T]) -> T:
        work, notifier = self._spans.recording(work), self._notifier
        if notifier is None:
            return await self._committed(work)
        notifications: set[tuple[str, str]] = set()

        def collecting(connection: Connection) -> T:
            connection.info[_NOTIFICATIONS] = notifications
            return work(connection)

        result = await self._committed(collecting)
        for channel, payload in notifications:
            notifier.notify(channel, payload)
        return result

    async def _committed(self, work: Work[T]) -> T:
        async with self.metrics.transaction("write") as this, translated():
            return await self._engine.write(this.noting(work))

    async def alone(self, work: Work[T]) -> T:
        """Run `work`, which begins and commits its own transactions, and return its result. For migrations.

        On SQLite it is one transaction, as with `write`.

        Raises:
            Unavailable: a lock was not acquired in time, or the database is out of reach.
        """
        async with translated():
            return await self._engine.alone(work)

    def notify(self, connection: Connection, channel: str, payload: str = "") -> None:
        """Notify the listeners in all replicas, once the transaction of `connection` is committed.

        Has no effect on SQLite, nor through a pooler that shares connections per transaction. A notification
        may be lost; see `services.kit.notifier`.

        Args:
            connection: The connection that `write` passes to `work`.
            channel: A short name.
            payload: For example the key of what changed; at most 7,000 bytes.
        """
        if self._notifier is not None:
            connection.info[_NOTIFICATIONS].add((channel, payload))

    @asynccontextmanager
    async def listen(self, channel: str, callback: Callable[[str], None]) -> AsyncIterator[None]:
        """Call `callback` with the payload of each notification until the end of the block."""
        if self._notifier is None:
            yield
        else:
            with self._notifier.listening(channel, callback):
                yield

    def tick(self, seconds: float) -> float:
        """Return the interval in seconds at which to poll for changes that `notify` announces.

        It is `seconds` where notifications are not sent, otherwise at least `SAFETY_TICK`.
        """
        return seconds if self._notifier is None else max(seconds, SAFETY_TICK)

    async def lookup(self, statement: Select[Any], **parameters: int | str) -> Sequence[Any] | None:
        """Return the first row of a frequent read, or None if there is none.

        Args:
            statement: A constant, with a `bindparam` for each parameter: SQLAlchemy compiles it once.
        """
        return await self.read(lambda connection: connection.execute(statement, parameters).first())

    def insert(self, table: Table) -> "sqlite_dialect.Insert | postgresql.Insert":
        """Return an INSERT with `on_conflict_do_nothing` and `on_conflict_do_update`, which both dialects
        have.
        """
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
        from services.kit import dsn, notifier, postgres  # megabytes that a process on SQLite does without

        told = dsn.parse(self.url)
        self.url = told.url
        if told.pooling != "transaction":  # LISTEN needs a connection of its own
            self._notifier = notifier.Notifier(
                lambda: postgres.connect(told, self.service, self._timeout), prefix=self.service
            )
        return postgres.Pool(told, self.service, self._timeout, self._statement_timeout)
