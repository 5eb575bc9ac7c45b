"""The shop's databases behind a real PgBouncer, in either of its modes."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url

from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable
from meshmart.books.read import audit
from services.kit import postgres as postgres_kit
from services.kit.db import Database
from services.kit.dsn import parse
from services.kit.migrate import migrate
from services.migrate import services_with_tables
from tests import pgbouncer
from tests.databases import PostgresMaker
from tests.postgres import Postgres

#: Fewer than there are clients: in transaction mode they share them.
CONNECTIONS = {"session": 12, "transaction": 2}


@dataclass(frozen=True)
class Bouncer:
    mode: str
    directory: Path
    database: str

    def url(self, query: str = "") -> str:
        return f"postgresql://meshmart@/{self.database}?host={self.directory}&port=6432{query}"

    @property
    def right(self) -> str:
        return self.url(f"&pooling={self.mode}&pool_size=2")


@pytest.fixture(params=["session", "transaction"])
def bouncer(
    request: pytest.FixtureRequest, postgres: Postgres, postgres_maker: PostgresMaker
) -> Iterator[Bouncer]:
    binary = pgbouncer.program()
    if binary is None:
        problem = "PgBouncer is not installed; on Debian: apt install pgbouncer"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    database = postgres_maker().url("shop").partition("?")[0].rpartition("/")[2]
    with pgbouncer.throwaway(postgres, request.param, CONNECTIONS[request.param], binary) as directory:
        yield Bouncer(request.param, directory, database)
    postgres_maker.release()


@pytest.fixture
async def two_services(bouncer: Bouncer) -> AsyncIterator[list[Database]]:
    """A table of the same name in each, with the service's own name in it."""
    async with AsyncExitStack() as stack:
        dbs = [await stack.enter_async_context(Database.open(bouncer.right, name)) for name in ("one", "two")]
        for db in dbs:
            await db.write(lambda c, name=db.service: _prepare(c, name))  # type: ignore[misc]
        yield dbs


def _prepare(c: Connection, name: str) -> None:
    c.execute(text(f"CREATE SCHEMA {name}"))
    c.execute(text("CREATE TABLE whose (name TEXT NOT NULL, n INTEGER NOT NULL DEFAULT 0)"))
    c.execute(text("INSERT INTO whose VALUES (:name)"), {"name": name})


async def test_services_that_share_connections_see_their_own_tables(two_services: list[Database]) -> None:
    async def reads(db: Database) -> set[str]:
        return {str(await db.read(lambda c: c.scalar(text("SELECT name FROM whose")))) for _ in range(30)}

    async def writes(db: Database) -> None:
        for _ in range(30):
            await db.write(lambda c: c.execute(text("UPDATE whose SET n = n + 1")))

    tasks = [reads(db) for db in two_services for _ in range(3)]
    seen, *_ = await asyncio.gather(asyncio.gather(*tasks), *(writes(db) for db in two_services))
    assert seen == [{"one"}] * 3 + [{"two"}] * 3
    for db in two_services:
        assert await db.read(lambda c: c.scalar(text("SELECT n FROM whose"))) == 30


async def test_our_settings_hold_in_every_transaction(two_services: list[Database]) -> None:
    show = text("SELECT current_setting('statement_timeout'), current_setting('jit')")
    for db in two_services:
        assert tuple(await db.read(lambda c: c.execute(show).one())) == ("10s", "off")
        assert tuple(await db.write(lambda c: c.execute(show).one())) == ("10s", "off")


async def test_every_service_migrates_and_seeds_and_the_books_can_be_read(bouncer: Bouncer) -> None:
    for name in services_with_tables():
        await migrate(bouncer.right, name)
    verdict = await audit(Path(), {"MESHMART_DATABASE_URL": bouncer.right})
    assert verdict.settled
    assert {s.left_value > 0 for s in verdict.sums if s.section == "stock"} == {
        True,
        False,
    }  # seeded, no orders
    for name in services_with_tables():
        await migrate(bouncer.right, name)  # nothing to do


async def test_a_shared_connection_keeps_none_of_our_settings(bouncer: Bouncer) -> None:
    """Other programs may share PgBouncer's connections, and would look into our schema."""
    for _ in range(2 * CONNECTIONS[bouncer.mode]):
        ours = await postgres_kit.connect(parse(make_url(bouncer.right)), "order", 60)
        await ours.close()
    other = await asyncpg.connect(
        host=str(bouncer.directory), port=6432, user="meshmart", database=bouncer.database, timeout=60
    )
    settings = "SELECT current_setting('search_path') || ' ' || current_setting('lock_timeout')"
    assert await other.fetchval(settings) == '"$user", public 0'
    await other.close()


async def test_streams_hear_of_changes(bouncer: Bouncer) -> None:
    """By notices in session mode; in transaction mode by the short poll that SQLite has."""
    async with Database.open(bouncer.right, "shop") as db:
        assert db.tick(0.2) == (0.2 if bouncer.mode == "transaction" else 1.0)
        if bouncer.mode == "transaction":
            return
        heard = asyncio.Event()
        async with db.listen("news", lambda _: heard.set()):
            while not heard.is_set():  # one that comes before it listens is lost
                await db.write(lambda c: db.notify(c, "news"))
                await asyncio.wait({asyncio.ensure_future(heard.wait())}, timeout=0.1)


async def test_a_pooler_that_the_url_does_not_tell_of_is_refused(bouncer: Bouncer) -> None:
    with pytest.raises(ConfigError, match=r"a connection pooler answers at .* add pooling=transaction"):
        await migrate(bouncer.url(), "order")
    async with Database.open(bouncer.url(), "order") as db:
        with pytest.raises(Unavailable):
            await db.read(lambda c: c.execute(text("SELECT 1")))


def test_a_mode_that_is_none_is_told_when_a_process_starts() -> None:
    with pytest.raises(ConfigError, match="pooling='statement': must be session or transaction"):
        Database("postgresql://a@b/c?pooling=statement", "shop")
