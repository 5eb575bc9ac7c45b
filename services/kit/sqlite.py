"""The SQLite engine of `services.kit.db`: the standard library's driver, in threads.

Several replica processes share the file.
"""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import OperationalError

from grpcmesh.errors import Unavailable
from services.kit.db_metrics import Kind
from services.kit.statement_spans import listen_for_errors
from services.kit.transient import RETRY_AFTER, is_transient

#: The reading connections of a process.
READERS = 5

T = TypeVar("T")


class Threads:
    """The `services.kit.db.Engine` for SQLite: one thread that writes, several that read.

    Args:
        url: `sqlite:///PATH`.
        timeout: Seconds to wait for a lock or for a thread.
    """

    def __init__(self, url: URL, timeout: float) -> None:
        self._url, self._timeout = url, timeout
        # Readers begin nothing, so there is nothing to roll back either.
        reader = _engine(url, timeout, READERS, isolation_level="AUTOCOMMIT", skip_autocommit_rollback=True)
        writer = _engine(url, timeout, 1)
        event.listen(writer, "begin", _begin_immediate)
        self._reader, self._writer = _Side(reader, READERS, timeout), _Side(writer, 1, timeout)

    @property
    def capacity(self) -> Mapping[Kind, int]:
        return {"read": READERS, "write": 1}

    async def prepare_file(self, service: str) -> None:
        """Create the file's directory and put the file into WAL mode, which is persistent.

        If two processes do it at once, SQLite fails one of them without waiting, so it is retried.

        Raises:
            Unavailable: the file cannot be opened, or was locked for longer than the timeout.
        """
        try:
            Path(self._url.database or "").parent.mkdir(parents=True, exist_ok=True)
        except OSError as e:
            raise Unavailable(f"cannot open the database of {service}: {e}") from e
        give_up = asyncio.get_running_loop().time() + self._timeout
        while True:
            try:
                await self.read(lambda connection: connection.exec_driver_sql("PRAGMA journal_mode = WAL"))
                return
            except OperationalError as e:
                if not is_transient(e) or asyncio.get_running_loop().time() > give_up:
                    raise Unavailable(f"cannot open the database of {service}: {e.orig}") from e
                await asyncio.sleep(0.02)

    async def read(self, work: Callable[[Connection], T]) -> T:
        def reading() -> T:
            with self._reader.engine.connect() as connection:
                return work(connection)

        return await self._reader.run(reading)

    async def write(self, work: Callable[[Connection], T]) -> T:
        def writing() -> T:
            with self._writer.engine.begin() as connection:
                return work(connection)

        return await self._writer.run(writing)

    async def alone(self, work: Callable[[Connection], T]) -> T:
        return await self.write(work)

    def filled(self) -> AbstractAsyncContextManager[None]:
        """Do nothing: a file needs no open connections."""
        return nullcontext()

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()


class _Side:
    """Connections with a thread for each. Callers that wait get one in the order of their arrival."""

    def __init__(self, engine: Engine, size: int, timeout: float) -> None:
        self.engine, self._timeout = engine, timeout
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="sqlite")
        self._free = asyncio.Semaphore(size)

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread. It runs to its end even if the caller is cancelled.

        Raises:
            Unavailable: no thread became free in time.
        """
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError as e:
            raise Unavailable("the database is busy", RETRY_AFTER) from e
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        done.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Wait for running work to finish, then close the connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self.engine.dispose()


def _engine(url: URL, timeout: float, pool_size: int, **options: Any) -> Engine:
    # isolation_level None: the driver begins no transaction of its own accord.
    arguments: dict[str, Any] = {"timeout": timeout, "isolation_level": None}
    engine = create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        hide_parameters=True,  # or the text of an error, which is logged, tells what is stored
        connect_args=arguments,
        **options,
    )
    event.listen(engine, "connect", _set_pragmas)
    listen_for_errors(engine)
    return engine


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # Safe against a crash of the process in WAL mode; a power cut may cost the last commits, never the file.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
