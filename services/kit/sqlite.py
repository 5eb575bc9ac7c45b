"""SQLite, shared by several replica processes, through the standard library. See `services.kit.db`."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import OperationalError

from grpcmesh.errors import Unavailable
from services.kit.transient import RETRY_AFTER, is_transient

#: Reading connections of a process.
READERS = 5

T = TypeVar("T")


class Threads:
    """`services.kit.db.Engine` on SQLite: a thread for what is written, some for what is read.

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

    async def prepare_file(self, service: str) -> None:
        """Puts the file into WAL mode, which lasts. Of two that do it at once, one fails without waiting."""
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
        """Does nothing: a file is opened when it is read."""
        return nullcontext()

    async def close(self) -> None:
        await self._reader.close()
        await self._writer.close()


class _Side:
    """Connections, and a thread for each. Those who wait for one get it in the order in which they came."""

    def __init__(self, engine: Engine, size: int, timeout: float) -> None:
        self.engine, self._timeout = engine, timeout
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="sqlite")
        self._free = asyncio.Semaphore(size)

    async def run(self, work: Callable[[], T]) -> T:
        """Does it in a thread; to the end, even where the caller is cancelled."""
        try:
            async with asyncio.timeout(self._timeout):
                await self._free.acquire()
        except TimeoutError as e:
            raise Unavailable("the database is busy", RETRY_AFTER) from e
        done = asyncio.get_running_loop().run_in_executor(self._threads, work)
        done.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(done)

    async def close(self) -> None:
        """Once what is being done is done."""
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
    return engine


def _set_pragmas(connection: Any, _: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys = ON")
    # Safe against a crash of the process in WAL mode; a power cut may cost the last commits, never the file.
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


def _begin_immediate(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
