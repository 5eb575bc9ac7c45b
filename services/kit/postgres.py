"""The PostgreSQL engine of `services.kit.db`. Imported only where it is used, because it needs megabytes."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from grpcmesh.config import ConfigError
from services.kit.addresses import LOOP
from services.kit.background import repeating
from services.kit.db import STATEMENT_TIMEOUT
from services.kit.db_metrics import Kind
from services.kit.dsn import Dsn
from services.kit.statement_spans import listen_for_errors
from services.kit.transient import translated

#: Seconds after which PostgreSQL ends a transaction that is idle.
IDLE_TIMEOUT = 10.0
#: The connections that a pool keeps open, and seconds between two checks of that number. A pool that
#: grows only on demand does so when everything is slow, or while the network to the database is disturbed.
MIN_OPEN, FILL_INTERVAL = 2, 10.0
#: Seconds that the driver waits longer than PostgreSQL itself would. After that the server must have
#: vanished.
_SILENCE = 5.0
#: The SQLSTATE of a write that a server refuses because it is a standby.
_READ_ONLY = "25006"

T = TypeVar("T")


class Pool:
    """The `services.kit.db.Engine` for PostgreSQL.

    Args:
        dsn: The connection settings.
        service: The schema.
        timeout: Seconds to wait for a lock or a connection.
        statement_timeout: Seconds after which PostgreSQL ends a statement.
    """

    def __init__(
        self, dsn: Dsn, service: str, timeout: float, statement_timeout: float = STATEMENT_TIMEOUT
    ) -> None:
        self._writer = _engine(dsn, service, timeout, statement_timeout)
        self._size = dsn.pool_size
        # Shares the pool; without a transaction a read is one round trip instead of three. Behind a pooler
        # that shares by the transaction, our settings hold for a transaction only.
        shared = dsn.pooling == "transaction"
        self._reader = None if shared else self._writer.execution_options(isolation_level="AUTOCOMMIT")

    @property
    def capacity(self) -> Mapping[Kind, int]:
        return {"read": self._size, "write": self._size}

    async def read(self, work: Callable[[Connection], T]) -> T:
        if self._reader is None:
            return await self.write(work)
        async with self._reader.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        async with self._writer.begin() as connection:
            return await connection.run_sync(work)

    async def alone(self, work: Callable[[Connection], T]) -> T:
        async with self._writer.connect() as connection:
            try:
                return await connection.run_sync(work)
            except BaseException:
                await connection.invalidate()  # what `work` has set there, such as a timeout, ends with it
                raise

    def filled(self) -> AbstractAsyncContextManager[None]:
        """Keep `MIN_OPEN` connections open until the end of the block."""
        return repeating(self.fill, FILL_INTERVAL, "filling of the database's pool")

    async def fill(self) -> None:
        """Open connections until there are `MIN_OPEN`, or as many as the pool may have.

        Raises:
            Unavailable: the database is out of reach.
        """
        async with translated(), AsyncExitStack() as stack:
            for _ in range(min(MIN_OPEN, self._size)):
                await stack.enter_async_context(self._writer.connect())

    async def close(self) -> None:
        await self._writer.dispose()


async def connect(dsn: Dsn, service: str, timeout: float) -> asyncpg.Connection:
    """Open an asyncpg connection outside of the pool, with our settings unless a pooler shares it.

    `timeout` is in seconds, to connect and for each command.
    """
    _, options = dsn.url.get_dialect()().create_connect_args(dsn.url)
    for name in [name for name in options if name.startswith("prepared_statement_")]:
        del options[name]  # SQLAlchemy's own
    connection = await asyncpg.connect(
        **options,
        **dsn.arguments,
        loop=LOOP,
        server_settings=_name(service),
        timeout=timeout,
        command_timeout=timeout,
    )
    if dsn.pooling == "transaction":
        return connection  # settings would stay at a connection that the pooler gives to others
    try:
        await connection.execute(_set(service, timeout, STATEMENT_TIMEOUT, local=False))
    except BaseException:
        connection.terminate()
        raise
    return connection


def _engine(dsn: Dsn, service: str, timeout: float, statement_timeout: float) -> AsyncEngine:
    made = create_async_engine(
        dsn.url,
        pool_size=dsn.pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        hide_parameters=True,  # or the text of an error, which is logged, tells what is stored
        connect_args={"server_settings": _name(service), "timeout": timeout, "loop": LOOP}
        | {"command_timeout": statement_timeout + timeout + _SILENCE}
        | dsn.dialect_arguments,
    )
    _apply_settings(made, dsn, partial(_set, service, timeout, statement_timeout))
    event.listen(made.sync_engine, "checkout", _refuse_closed)
    event.listen(made.sync_engine, "handle_error", _forget_values)
    event.listen(made.sync_engine, "handle_error", _leave_standby)
    listen_for_errors(made.sync_engine)
    return made


def _apply_settings(engine: AsyncEngine, dsn: Dsn, settings: Callable[..., str]) -> None:
    """Make our settings hold for every statement.

    They are not startup parameters, because PgBouncer refuses those that it does not know; one statement per
    connection costs as little. If the pooler may give each transaction another connection, whose last user
    may have been another service, the settings are set in each transaction.
    """
    if dsn.pooling == "transaction":
        setting = settings(local=True)
        event.listen(engine.sync_engine, "begin", lambda connection: connection.exec_driver_sql(setting))
        return
    setting = settings(local=False)

    def prepare(connection: Any, _: object) -> None:
        cursor = connection.cursor()
        cursor.execute(setting)
        backend = cursor.fetchone()[0]
        cursor.close()
        connection.commit()
        _check_pooler(dsn, backend, connection.driver_connection.get_server_pid())

    event.listen(engine.sync_engine, "connect", prepare)


def _check_pooler(dsn: Dsn, backend: int, told: int) -> None:
    """Raise ConfigError if a pooler answers that the URL does not declare.

    Clients of a pooler share connections, and with them `search_path`: a service would read another's tables.

    Args:
        backend: The process id that PostgreSQL itself reports.
        told: The process id that was reported when the connection was accepted.
    """
    if backend != told and not dsn.pooling:
        where = dsn.url.host or dsn.url.query.get("host")
        raise ConfigError(
            [
                f"MESHMART_DATABASE_URL: a connection pooler answers at {where}: add pooling=transaction, "
                "or pooling=session where that is its pool_mode"
            ]
        )


def _name(service: str) -> dict[str, str]:
    return {"application_name": f"meshmart-{service}"}


def _set(service: str, timeout: float, statement_timeout: float, *, local: bool) -> str:
    """Return the statement that applies our settings to a connection or, if `local`, to one transaction."""
    settings = {
        "search_path": f'"{service}"',
        "statement_timeout": _ms(statement_timeout),
        "lock_timeout": _ms(timeout),
        "idle_in_transaction_session_timeout": _ms(IDLE_TIMEOUT),
        "jit": "off",  # compiling costs more than our statements
    }
    calls = [f"set_config('{name}', '{value}', {str(local).lower()})" for name, value in settings.items()]
    return ", ".join(["SELECT pg_backend_pid()", *calls])


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _refuse_closed(connection: Any, *_: object) -> None:
    """Make the pool reconnect if the database has closed the connection.

    The event loop has already noticed the close, so the check is free, while `pool_pre_ping` costs each
    transaction a round trip.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError("closed by the database")


def _leave_standby(context: ExceptionContext) -> None:
    """Make the pool connect anew if its server takes no writes: it was demoted, and another one is primary.

    Otherwise a pool that has connected to a standby, as DNS may still say after a switch-over, would stay
    there for good.
    """
    if getattr(context.original_exception, "sqlstate", None) == _READ_ONLY:
        context.is_disconnect = True


def _forget_values(context: ExceptionContext) -> None:
    """Remove PostgreSQL's error detail, which holds values of keys and rows, from what may be logged."""
    error: BaseException | None = context.sqlalchemy_exception
    while error is not None:
        error.args = tuple(str(a).partition("\nDETAIL:")[0] for a in error.args)
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
        error = error.__cause__ or getattr(error, "orig", None)
