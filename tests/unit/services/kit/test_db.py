import asyncio
import threading
import traceback
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError

from mesh.config import ConfigError
from mesh.errors import Unavailable
from services.kit.db import Database, database_url
from tests.databases import Maker


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
        async with one.transaction() as c:
            if not one.is_sqlite:
                await c.execute(text("CREATE SCHEMA shop"))
            await c.execute(
                text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL CHECK (n >= 0))")
            )
            await c.execute(text("INSERT INTO t VALUES (1, 0)"))
        yield one, two


async def _n(db: Database) -> int:
    async with db.session() as c:
        return int(await c.scalar(text("SELECT n FROM t WHERE id = 1")) or 0)


async def _increment(db: Database) -> None:
    async with db.transaction() as c:
        # On SQLite the transaction has the lock already; PostgreSQL locks the row.
        locking = "" if db.is_sqlite else "FOR UPDATE"
        n = await c.scalar(text(f"SELECT n FROM t WHERE id = 1 {locking}"))
        await asyncio.sleep(0)
        await c.execute(text("UPDATE t SET n = :n WHERE id = 1"), {"n": n + 1})


async def test_writers_of_two_processes_take_turns(patient_pair: tuple[Database, Database]) -> None:
    await asyncio.gather(*(_increment(patient_pair[i % 2]) for i in range(40)))
    assert await _n(patient_pair[0]) == 40


async def test_a_reader_does_not_wait_for_a_writer_and_sees_the_last_commit(
    pair: tuple[Database, Database],
) -> None:
    async with pair[0].transaction() as c:
        await c.execute(text("UPDATE t SET n = 7"))
        assert await _n(pair[1]) == 0
        assert await _n(pair[0]) == 0
    assert await _n(pair[1]) == 7


async def test_a_transaction_that_raises_leaves_nothing(pair: tuple[Database, Database]) -> None:
    async def fail() -> None:
        async with pair[0].transaction() as c:
            await c.execute(text("UPDATE t SET n = 7"))
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await fail()
    assert await _n(pair[0]) == 0


@pytest.mark.parametrize("second", [0, 1], ids=["same process", "another process"])
async def test_a_lock_that_is_not_had_in_time_is_unavailable(
    pair: tuple[Database, Database], second: int
) -> None:
    async with pair[0].transaction() as c:
        await c.execute(text("UPDATE t SET n = 7"))
        with pytest.raises(Unavailable):
            await _increment(pair[second])
    await _increment(pair[second])
    assert await _n(pair[0]) == 8


async def test_a_cancelled_transaction_gives_its_lock_back(pair: tuple[Database, Database]) -> None:
    for victim in pair:
        async with pair[0].transaction() as c:
            await c.execute(text("UPDATE t SET n = n"))
            waiting = asyncio.create_task(_increment(victim))
            await asyncio.sleep(0.05)  # it is now waiting for the lock, or about to
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
    await _increment(pair[0])
    await _increment(pair[1])
    assert await _n(pair[0]) == 2


async def test_foreign_keys_hold(pair: tuple[Database, Database]) -> None:
    async with pair[0].transaction() as c:
        await c.execute(text("CREATE TABLE child (t_id INTEGER NOT NULL REFERENCES t (id))"))
    with pytest.raises(IntegrityError):
        async with pair[0].transaction() as c:
            await c.execute(text("INSERT INTO child VALUES (99)"))


async def test_a_missing_table_is_a_defect_and_not_called_transient(pair: tuple[Database, Database]) -> None:
    with pytest.raises(DBAPIError, match="nothing_here"):
        async with pair[0].session() as c:
            await c.execute(text("SELECT * FROM nothing_here"))


async def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "shop.db").mkdir()
    with pytest.raises(Unavailable, match="shop"):
        async with Database.open(f"sqlite:///{tmp_path}/shop.db", "shop", lock_timeout=0.1):
            pass
    # After a failed connect aiosqlite's thread still reports to the loop, which must be there to hear it.
    for thread in threading.enumerate():
        if "_connection_worker_thread" in thread.name:
            await asyncio.to_thread(thread.join, 5)


def test_the_url_comes_from_the_environment() -> None:
    assert database_url("a", {"MESHMART_DATA_DIR": "/d"}) == "sqlite+aiosqlite:////d/a.db"
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
        async with pair[0].transaction() as c:
            await c.execute(text("INSERT INTO t VALUES (:id, :n)"), row)
    assert "271828" not in "".join(traceback.format_exception(caught.value))
