import asyncio
import time
import traceback
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable
from services.kit.db import Database, database_url
from tests.databases import Maker, meanwhile


@pytest.fixture
async def pair(new_databases: Maker) -> AsyncIterator[tuple[Database, Database]]:
    """Two processes' worth of connections to one database; they do not wait long for a lock."""
    async with _opened(new_databases, lock_timeout=0.3) as pair:
        yield pair


@pytest.fixture
async def patient_pair(new_databases: Maker) -> AsyncIterator[tuple[Database, Database]]:
    """The same, but they wait as long as a loaded machine may need."""
    async with _opened(new_databases, lock_timeout=60) as pair:
        yield pair


@asynccontextmanager
async def _opened(new_databases: Maker, lock_timeout: float) -> AsyncIterator[tuple[Database, Database]]:
    url = new_databases().url("shop")
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(Database.open(url, "shop", lock_timeout=lock_timeout))
            for _ in "ab"
        ]

        def prepare(c: Connection) -> None:
            if not one.is_sqlite:
                c.execute(text("CREATE SCHEMA shop"))
            c.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0))"))
            c.execute(text("INSERT INTO t VALUES (1, 0)"))

        await one.write(prepare)
        yield one, two


async def _n(db: Database) -> int:
    return int(await db.read(lambda c: c.scalar(text("SELECT n FROM t WHERE id = 1"))) or 0)


async def _increment(db: Database) -> None:
    wait = meanwhile(db)

    def increment(c: Connection) -> None:
        # On SQLite the transaction has the lock already; PostgreSQL locks the row.
        locking = "" if db.is_sqlite else "FOR UPDATE"
        n = c.scalar(text(f"SELECT n FROM t WHERE id = 1 {locking}")) or 0
        wait(asyncio.sleep(0))
        c.execute(text("UPDATE t SET n = :n WHERE id = 1"), {"n": n + 1})

    await db.write(increment)


async def _while_seven(db: Database, others: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Lets others do something while a transaction that has set n to 7 is not committed yet."""
    wait = meanwhile(db)

    def work(c: Connection) -> None:
        c.execute(text("UPDATE t SET n = 7"))
        wait(others())

    await db.write(work)


async def test_writers_of_two_processes_take_turns(patient_pair: tuple[Database, Database]) -> None:
    await asyncio.gather(*(_increment(patient_pair[i % 2]) for i in range(40)))
    assert await _n(patient_pair[0]) == 40


async def test_a_reader_does_not_wait_for_a_writer_and_sees_the_last_commit(
    pair: tuple[Database, Database],
) -> None:
    async def look() -> None:
        assert await _n(pair[1]) == 0
        assert await _n(pair[0]) == 0

    await _while_seven(pair[0], look)
    assert await _n(pair[1]) == 7


async def test_a_transaction_that_raises_leaves_nothing(pair: tuple[Database, Database]) -> None:
    async def fail() -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await _while_seven(pair[0], fail)
    assert await _n(pair[0]) == 0


@pytest.mark.parametrize("second", [0, 1], ids=["same process", "another process"])
async def test_a_lock_that_is_not_had_in_time_is_unavailable(
    pair: tuple[Database, Database], second: int
) -> None:
    async def refused() -> None:
        with pytest.raises(Unavailable):
            await _increment(pair[second])

    await _while_seven(pair[0], refused)
    await _increment(pair[second])
    assert await _n(pair[0]) == 8


@pytest.mark.parametrize("victim", [0, 1], ids=["same process", "another process"])
async def test_a_cancelled_transaction_gives_its_lock_back_and_is_done_whole_or_not_at_all(
    patient_pair: tuple[Database, Database], victim: int
) -> None:
    async def cancel() -> None:
        waiting = asyncio.create_task(_increment(patient_pair[victim]))
        await asyncio.sleep(0.05)  # it is now waiting for the lock, or about to
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    await _while_seven(patient_pair[0], cancel)
    await _increment(patient_pair[0])
    await _increment(patient_pair[1])
    assert await _n(patient_pair[0]) in (9, 10)


async def test_the_event_loop_goes_on_while_a_transaction_waits(pair: tuple[Database, Database]) -> None:
    async def turn() -> None:
        begun = time.monotonic()
        waiting = asyncio.create_task(_increment(pair[1]))
        longest = 0.0
        while not waiting.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
        assert isinstance(waiting.exception(), Unavailable)
        assert longest < (time.monotonic() - begun) / 2

    await _while_seven(pair[0], turn)


async def test_foreign_keys_hold(pair: tuple[Database, Database]) -> None:
    table = text("CREATE TABLE child (t_id INTEGER NOT NULL REFERENCES t (id))")
    await pair[0].write(lambda c: c.execute(table))
    with pytest.raises(IntegrityError):
        await pair[0].write(lambda c: c.execute(text("INSERT INTO child VALUES (99)")))


async def test_a_missing_table_is_a_defect_and_not_called_transient(pair: tuple[Database, Database]) -> None:
    with pytest.raises(DBAPIError, match="nothing_here"):
        await pair[0].read(lambda c: c.execute(text("SELECT * FROM nothing_here")).all())


async def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.db").mkdir()
    with pytest.raises(Unavailable, match="shop"):
        async with Database.open(f"sqlite:///{tmp_path}/shop.db", "shop", lock_timeout=0.1):
            pass


def test_the_url_comes_from_the_environment() -> None:
    assert database_url("a", {"MESHMART_DATA_DIR": "/d"}) == "sqlite:////d/a.db"
    assert database_url("a", {"MESHMART_DATABASE_URL": "postgresql://h/x", "MESHMART_DATA_DIR": "/d"}) == (
        "postgresql://h/x"
    )
    with pytest.raises(ConfigError, match="MESHMART_DATA_DIR"):
        database_url("a", {})


@pytest.mark.parametrize("row", [{"id": 1, "n": 271828}, {"id": 271828, "n": -1}], ids=["key", "check"])
async def test_an_error_does_not_tell_what_was_to_be_stored(
    pair: tuple[Database, Database], row: dict[str, int]
) -> None:
    with pytest.raises(IntegrityError) as caught:
        await pair[0].write(lambda c: c.execute(text("INSERT INTO t VALUES (:id, :n)"), row))
    assert "271828" not in "".join(traceback.format_exception(caught.value))
