"""What a service counts of its database, on SQLite and on PostgreSQL."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from prometheus_client import CollectorRegistry
from sqlalchemy import Connection, text
from sqlalchemy.exc import IntegrityError

from grpcmesh.errors import Unavailable
from services.kit.db import Database
from services.kit.db_metrics import DatabaseMetrics
from services.kit.retention import delete_oldest, drop_old
from tests.databases import Maker

META = sa.MetaData()
TABLE = sa.Table("t", META, sa.Column("id", sa.Integer, primary_key=True), sa.Column("at", sa.Integer))


class OutOfStock(Exception):  # noqa: N818
    """A rule of the business, which rolls a transaction back."""


@pytest.fixture
async def db(new_databases: Maker) -> AsyncIterator[Database]:
    async with Database.open(new_databases().url("shop"), "shop", lock_timeout=60) as db:

        def prepare(connection: Connection) -> None:
            if not db.is_sqlite:
                connection.execute(text("CREATE SCHEMA shop"))
            META.create_all(connection)

        await db.write(prepare)
        # What is counted from here on is the test's.
        db.metrics = DatabaseMetrics({"read": 5, "write": 5})
        yield db


def value(db: Database, name: str, **labels: str) -> float | None:
    """A sample of the metrics page."""
    registry = CollectorRegistry()
    registry.register(db.metrics)
    return registry.get_sample_value(name, labels)


def ended(db: Database, kind: str, outcome: str) -> float | None:
    return value(db, "shop_database_transactions_total", kind=kind, outcome=outcome)


def insert(number: int) -> sa.Insert:
    return TABLE.insert().values(id=number, at=number)


async def test_every_transaction_is_counted_once_by_how_it_ended(db: Database) -> None:
    def refuse(connection: Connection) -> None:
        connection.execute(insert(2))
        raise OutOfStock

    await db.write(lambda c: c.execute(insert(1)))
    await db.read(lambda c: c.execute(TABLE.select()).all())
    with pytest.raises(IntegrityError):
        await db.write(lambda c: c.execute(insert(1)))
    with pytest.raises(OutOfStock):
        await db.write(refuse)
    with pytest.raises(sa.exc.SQLAlchemyError):
        await db.read(lambda c: c.execute(text("SELECT nothing FROM nowhere")))

    assert (
        ended(db, "write", "ok") == ended(db, "write", "conflict") == ended(db, "write", "rolled_back") == 1
    )
    assert ended(db, "read", "ok") == ended(db, "read", "failed") == 1
    assert value(db, "shop_database_seconds_count", kind="write") == 3
    assert value(db, "shop_database_wait_seconds_count", kind="read") == 2
    assert value(db, "shop_database_in_use", kind="write") == 0
    assert value(db, "shop_database_waiting", kind="write") == 0


async def test_one_that_gets_no_connection_is_unavailable(db: Database) -> None:
    async def out_of_reach(*_: object) -> None:
        raise OSError("no route to host")

    db._engine.read = out_of_reach  # type: ignore[method-assign]
    with pytest.raises(Unavailable):
        await db.read(lambda c: c.execute(TABLE.select()).all())
    assert ended(db, "read", "unavailable") == 1


async def test_one_that_runs_has_a_connection_and_the_next_one_waits(tmp_path: Path) -> None:
    """On SQLite, where one transaction writes at a time, and work runs in a thread that can be held."""
    async with Database.open(f"sqlite:///{tmp_path / 'shop.db'}", "shop", lock_timeout=60) as db:
        begun, go = asyncio.Event(), threading.Event()
        loop = asyncio.get_running_loop()

        def hold(_: Connection) -> None:
            loop.call_soon_threadsafe(begun.set)
            go.wait(60)

        first = asyncio.create_task(db.write(hold))
        try:
            await begun.wait()
            second = asyncio.create_task(db.write(lambda _: None))
            await asyncio.sleep(0)  # it asks for the connection when it first runs
            assert value(db, "shop_database_connections", kind="write") == 1
            assert value(db, "shop_database_in_use", kind="write") == 1
            assert value(db, "shop_database_waiting", kind="write") == 1
        finally:
            go.set()
        await asyncio.gather(first, second)
        assert value(db, "shop_database_waiting", kind="write") == 0


async def test_a_cancelled_one_is_counted_as_such(db: Database) -> None:
    started = asyncio.Event()

    async def hang(*_: object) -> None:
        started.set()
        await asyncio.Event().wait()

    db._engine.write = hang  # type: ignore[method-assign]
    task = asyncio.create_task(db.write(lambda _: None))
    await started.wait()
    task.cancel()
    await asyncio.wait({task})
    assert ended(db, "write", "cancelled") == 1
    assert value(db, "shop_database_waiting", kind="write") == 0


async def test_rows_that_retention_deletes_are_counted(db: Database) -> None:
    assert value(db, "shop_database_expired_rows_total") == 0
    await db.write(lambda c: [c.execute(insert(number)) for number in range(5)])
    assert await drop_old(db, delete_oldest(TABLE, TABLE.c.at, TABLE.c.at < 3)) == 3
    assert value(db, "shop_database_expired_rows_total") == 3
