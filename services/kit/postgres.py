"""PostgreSQL. See `services.kit.db`; imported only where it is used, for its megabytes."""

from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from grpcmesh.config import ConfigError

#: Connections of a process's pool. One more carries notices where there are any (`services.kit.bell`), so
#: seven services with three replicas each need 7 x 3 x (3 + 1) = 84 of PostgreSQL's default 100, of which 3
#: are kept for the superuser: 13 are left for migrations, stand-ins of a rolling restart, and psql.
POOL_SIZE = 3
MAX_POOL_SIZE = 100
#: Seconds after which PostgreSQL ends a statement, and a transaction that says nothing.
STATEMENT_TIMEOUT = 10.0
IDLE_TIMEOUT = 10.0
#: Seconds that the driver waits longer than PostgreSQL itself would: then the server is gone without a word.
_SILENCE = 5.0

T = TypeVar("T")


def with_driver(url: URL) -> tuple[URL, int]:
    """The URL as SQLAlchemy and asyncpg take it, and the pool's size, `?pool_size=` or `POOL_SIZE`.

    Raises:
        ConfigError: the size is no number from 1 to `MAX_POOL_SIZE`.
    """
    query = dict(url.query)
    size = str(query.pop("pool_size", POOL_SIZE))
    if not size.isdecimal() or not 1 <= int(size) <= MAX_POOL_SIZE:
        raise ConfigError([f"MESHMART_DATABASE_URL: pool_size={size!r}: must be from 1 to {MAX_POOL_SIZE}"])
    if "sslmode" in query:  # libpq's name for what asyncpg calls ssl
        query.setdefault("ssl", query.pop("sslmode"))
    return url.set(drivername="postgresql+asyncpg", query=query), int(size)


class Pool:
    """`services.kit.db.Engine` on PostgreSQL.

    Args:
        url: As `with_driver` makes it.
        service: The schema.
        timeout: Seconds to wait for a lock or a connection.
        size: Connections.
    """

    def __init__(self, url: URL, service: str, timeout: float, size: int) -> None:
        self._writer = _engine(url, service, timeout, size)
        # Shares the pool; without a transaction a read is one round trip instead of three.
        self._reader = self._writer.execution_options(isolation_level="AUTOCOMMIT")

    async def read(self, work: Callable[[Connection], T]) -> T:
        async with self._reader.connect() as connection:
            return await connection.run_sync(work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        async with self._writer.begin() as connection:
            return await connection.run_sync(work)

    async def close(self) -> None:
        await self._writer.dispose()


async def connect(url: URL, service: str, timeout: float) -> asyncpg.Connection:
    """A connection outside of the pool, of asyncpg itself."""
    _, options = url.get_dialect()().create_connect_args(url)
    for name in [name for name in options if name.startswith("prepared_statement_")]:
        del options[name]  # SQLAlchemy's own
    settings = _settings(service, timeout)
    return await asyncpg.connect(
        **options, server_settings=settings, timeout=timeout, command_timeout=timeout
    )


def _engine(url: URL, service: str, timeout: float, pool_size: int) -> AsyncEngine:
    made = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        hide_parameters=True,  # or the text of an error, which is logged, tells what is stored
        connect_args={"server_settings": _settings(service, timeout), "timeout": timeout}
        | {"command_timeout": STATEMENT_TIMEOUT + timeout + _SILENCE},
    )
    event.listen(made.sync_engine, "checkout", _refuse_closed)
    event.listen(made.sync_engine, "handle_error", _forget_values)
    return made


def _settings(service: str, timeout: float) -> dict[str, str]:
    return {
        "search_path": service,
        "application_name": f"meshmart-{service}",
        "statement_timeout": _ms(STATEMENT_TIMEOUT),
        "lock_timeout": _ms(timeout),
        "idle_in_transaction_session_timeout": _ms(IDLE_TIMEOUT),
        "jit": "off",  # compiling costs more than our statements
    }


def _ms(seconds: float) -> str:
    return str(round(seconds * 1000))


def _refuse_closed(connection: Any, *_: object) -> None:
    """Has the pool connect anew where the database has closed the connection.

    The event loop has noticed that by itself, so asking is free, where `pool_pre_ping` costs each
    transaction a round trip.
    """
    if connection.driver_connection.is_closed():
        raise DisconnectionError("closed by the database")


def _forget_values(context: ExceptionContext) -> None:
    """Takes PostgreSQL's detail, which tells values of keys and rows, out of what may be logged."""
    error: BaseException | None = context.sqlalchemy_exception
    while error is not None:
        error.args = tuple(str(a).partition("\nDETAIL:")[0] for a in error.args)
        if isinstance(error, asyncpg.PostgresError):
            error.detail = None
        error = error.__cause__ or getattr(error, "orig", None)
