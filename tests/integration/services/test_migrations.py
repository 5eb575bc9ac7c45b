"""Migrations while the shop runs, on PostgreSQL: who reads and writes meanwhile is not kept waiting."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Connection, text

from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable
from services.kit import migrate as module
from services.kit.db import Database
from services.kit.migrate import migrate
from tests.databases import Maker, PostgresMaker
from tests.postgres import Postgres

BEFORE_INDEXES, BEFORE_COLUMNS = "order_0004", "order_0003"
_ORDER = """
    INSERT INTO orders (user_id, status, step, total, payment_id, on_file, address, attempts, version,
                        lease_until, created_at, updated_at)
    VALUES (1, 'CONFIRMED', 'DONE', 1, 1, false, '{}', 0, 1, 0, 0, 0)
"""
_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = '\"order\".orders_by_status'::regclass"


@pytest.fixture
async def url(postgres_maker: PostgresMaker) -> AsyncIterator[str]:
    yield postgres_maker().url("order")
    postgres_maker.release()


@asynccontextmanager
async def _session(postgres: Postgres, url: str) -> AsyncIterator[asyncpg.Connection]:
    name = url.partition("@/")[2].partition("?")[0]
    connection = await asyncpg.connect(host=str(postgres.directory), user="meshmart", database=name)
    await connection.execute("SET search_path = \"order\"; SET lock_timeout = '60s'")
    try:
        yield connection
    finally:
        await connection.close()


async def _blocked(session: asyncpg.Connection, text: str) -> None:
    """Returns when a statement that begins so waits for a lock."""
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND wait_event_type = 'Lock' AND query ILIKE $1 || '%'"
    )
    async with asyncio.timeout(60):
        while not await session.fetchval(waiting, text):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_column_is_added_though_somebody_reads_for_long_and_holds_up_nobody(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DDL_LOCK_TIMEOUT", 0.2)
    await migrate(url, "order", seed=False, revision=BEFORE_COLUMNS)
    async with _session(postgres, url) as reader, _session(postgres, url) as other:
        async with reader.transaction():
            await reader.fetch("SELECT * FROM orders")  # its lock is kept to the end of the transaction
            migrating = asyncio.create_task(migrate(url, "order", seed=False, revision=BEFORE_INDEXES))
            await _blocked(other, "ALTER TABLE orders")
            # Behind the ALTER TABLE; the reader is still at it.
            await other.fetch("SELECT * FROM orders", timeout=60)
            assert not migrating.done()
        await migrating
        await other.fetch("SELECT refunded, expected FROM orders")


async def test_an_index_is_built_while_others_write(postgres: Postgres, url: str) -> None:
    await migrate(url, "order", seed=False, revision=BEFORE_INDEXES)
    async with _session(postgres, url) as slow, _session(postgres, url) as other:
        async with slow.transaction():
            await slow.execute(_ORDER)
            migrating = asyncio.create_task(migrate(url, "order", seed=False))
            await _blocked(other, "CREATE INDEX")
            await other.execute(_ORDER, timeout=60)
            assert not migrating.done()
        await migrating
        assert await other.fetchval(_VALID)


async def test_a_build_that_was_broken_off_is_begun_anew(postgres: Postgres, url: str) -> None:
    await migrate(url, "order", seed=False, revision=BEFORE_INDEXES)
    async with _session(postgres, url) as slow, _session(postgres, url) as other:
        async with slow.transaction():
            await slow.execute(_ORDER)
            migrating = asyncio.create_task(migrate(url, "order", seed=False))
            await _blocked(other, "CREATE INDEX")
            builder = (
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'"
            )
            await other.execute(f"{builder} AND datname = current_database()")
            while await other.fetchval(_VALID) is not False:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await migrating
        assert await other.fetchval(_VALID)


async def test_a_build_that_was_broken_off_leaves_its_limits_to_nobody(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits without a limit; an ALTER TABLE on the same connection would hold up everybody."""
    await migrate(url, "order", seed=False, revision=BEFORE_INDEXES)
    found, upgrade = list[object](), module._upgrade

    def looking(connection: Connection, *arguments: Any) -> bool:
        found.append(connection.scalar(text("SELECT current_setting('lock_timeout')")))
        connection.rollback()
        return upgrade(connection, *arguments)

    monkeypatch.setattr(module, "_upgrade", looking)
    async with _session(postgres, url) as slow, _session(postgres, url) as other:
        async with slow.transaction():
            await slow.execute(_ORDER)
            migrating = asyncio.create_task(migrate(url, "order", seed=False))
            await _blocked(other, "CREATE INDEX")
            builder = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX%'"
            await other.execute(f"{builder} AND datname = current_database()")
            async with asyncio.timeout(60):
                while len(found) < 2:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        await migrating
    assert found == ["2s", "2s"]


async def test_tables_of_a_newer_release_are_left_as_they_are(
    new_databases: Maker, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a rollback whose deployment runs the older release's migrations."""
    newer = new_databases("order").url("order")
    async with Database.open(newer, "order") as db:
        await db.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = 'order_9999'")))
        await migrate(newer, "order")
        assert (
            await db.read(lambda c: c.scalar(text("SELECT version_num FROM alembic_version"))) == "order_9999"
        )
    assert "order: a newer release has migrated its tables, to order_9999" in caplog.text


async def test_a_user_who_may_not_make_tables_is_told_so(postgres: Postgres, url: str) -> None:
    async with _session(postgres, url) as admin:
        await admin.execute("CREATE ROLE weak LOGIN")
        try:
            with pytest.raises(ConfigError, match="its user may not migrate order: permission denied"):
                await migrate(url.replace("meshmart@", "weak@"), "order")
        finally:
            await admin.execute("DROP ROLE weak")


async def test_a_database_that_takes_no_writes_is_told_with_its_reason(
    postgres: Postgres, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.01)
    async with _session(postgres, url) as admin:
        name = await admin.fetchval("SELECT current_database()")
        await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    with pytest.raises(Unavailable, match="cannot execute CREATE SCHEMA in a read-only transaction"):
        await migrate(url, "order")


async def test_two_migrations_at_once_build_one_index(postgres: Postgres, url: str) -> None:
    await migrate(url, "order", seed=False, revision=BEFORE_INDEXES)
    await asyncio.gather(*(migrate(url, "order", seed=False) for _ in range(2)))
    async with _session(postgres, url) as session:
        assert await session.fetchval(_VALID)


async def test_statements_of_migrations_have_limits_of_their_own(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = list[object]()

    def look(connection: Connection, _: Database, *__: object) -> None:
        found.append(connection.execute(text(_LIMITS)).one())

    monkeypatch.setattr(module, "_upgrade", look)
    await migrate(url, "order", seed=False)
    assert found == [("1h", "2s")]


_LIMITS = "SELECT current_setting('statement_timeout'), current_setting('lock_timeout')"
