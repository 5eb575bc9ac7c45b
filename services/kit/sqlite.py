"""SQLite, shared by several replica processes. See `services.kit.db`."""

import asyncio
import functools
from pathlib import Path
from typing import Any

from sqlalchemy import Select, event
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import OperationalError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from mesh.errors import Unavailable
from services.kit.transient import is_transient

#: Reading connections of a process.
READERS = 5


def engines(url: URL, timeout: float) -> tuple[AsyncEngine, AsyncEngine]:
    """For reading and for writing. `timeout` is the seconds to wait for a lock or a connection."""
    # Readers begin nothing, so there is nothing to roll back either.
    reader = _engine(url, timeout, READERS, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
    writer = _engine(url, timeout, 1)
    event.listen(writer.sync_engine, "begin", _begin_immediate)
    return reader, writer


def _engine(url: URL, timeout: float, pool_size: int, **options: Any) -> AsyncEngine:
    # isolation_level None: the driver begins no transaction of its own accord.
    arguments: dict[str, Any] = {"timeout": timeout, "isolation_level": None}
    engine = create_async_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=timeout,
        hide_parameters=True,  # or the text of an error, which is logged, tells what is stored
        connect_args=arguments,
        **options,
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    return engine


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
    made = statement.compile(dialect=sqlite.dialect(paramstyle="qmark"))
    return str(made), tuple(made.positiontup or ())


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # Safe against a crash of the process in WAL mode; a power cut may cost the last commits, never the file.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_immediate(connection: Any) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
