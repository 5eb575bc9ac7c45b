"""What only PostgreSQL does: it restarts, notifies, waits in circles, and ends what takes too long."""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.util import await_only

from grpcmesh.config import ConfigError
from grpcmesh.errors import Unavailable
from local.catalog import SHOP
from services.kit.db import Database
from services.kit.dsn import POOL_SIZE
from services.kit.follow import Follower
from services.kit.following import following
from services.kit.migrate import migrate
from tests.databases import PostgresMaker
from tests.postgres import Postgres

Pair = tuple[Database, Database]


@dataclass(frozen=True)
class Happening:
    cursor: int


@pytest.fixture
def url(postgres_maker: PostgresMaker) -> Iterator[str]:
    yield postgres_maker().url("shop")
    postgres_maker.release()


@pytest.fixture
async def pair(url: str) -> AsyncIterator[Pair]:
    """Two replicas' connections."""
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(Database.open(url, "shop", lock_timeout=1.0)) for _ in "ab"
        ]
        await one.write(_prepare)
        yield one, two


def _prepare(c: Connection) -> None:
    c.execute(text("CREATE SCHEMA shop"))
    c.execute(text("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER NOT NULL)"))
    c.execute(text("INSERT INTO t VALUES (1, 0), (2, 0)"))


@contextmanager
def _away(server: Postgres, mode: str = "fast") -> Iterator[None]:
    """Without the server; at the end of the block it is there again."""
    with ExitStack() as stack:
        stack.callback(server.start)
        server.stop(mode)
        yield


def _add(c: Connection, row: int = 1) -> None:
    c.execute(text("UPDATE t SET n = n + 1 WHERE id = :id"), {"id": row})


async def _n(db: Database, row: int = 1) -> int:
    return int(await db.read(lambda c: c.scalar(text("SELECT n FROM t WHERE id = :id"), {"id": row})) or 0)


def test_the_shop_fits_a_server_as_it_comes() -> None:
    with_notices = POOL_SIZE + 1
    reserved_for_superuser, migrations_and_stand_ins = 3, 10
    free = 100 - reserved_for_superuser - migrations_and_stand_ins
    assert sum(spec.replicas for spec in SHOP.values() if spec.stores) * with_notices <= free
    assert 7 * 3 * with_notices <= free


async def test_a_process_takes_no_more_than_its_pool_and_is_known_by_its_service(pair: Pair) -> None:
    def hold(c: Connection) -> None:
        c.execute(text("SELECT pg_sleep(0.05)"))

    await asyncio.gather(*(pair[0].read(hold) for _ in range(20)))
    count = text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'meshmart-shop'")
    assert (await pair[0].read(lambda c: c.scalar(count)) or 0) <= 2 * POOL_SIZE


@pytest.mark.parametrize("mode", ["fast", "immediate"])
async def test_after_a_restart_everything_goes_on_at_once(pair: Pair, postgres: Postgres, mode: str) -> None:
    await asyncio.gather(*(_n(pair[0]) for _ in range(POOL_SIZE)))  # each connection of the pool
    with _away(postgres, mode):
        for _ in range(2):
            with pytest.raises(Unavailable):
                await _n(pair[0])
    await asyncio.gather(*(_n(pair[0]) for _ in range(POOL_SIZE)))
    await pair[0].write(_add)
    assert await _n(pair[1]) == 1


async def test_a_transaction_that_a_restart_breaks_is_unavailable_and_leaves_nothing(
    pair: Pair, postgres: Postgres
) -> None:
    def broken(c: Connection) -> None:
        _add(c)
        with _away(postgres):
            pass
        _add(c)

    with pytest.raises(Unavailable):
        await pair[0].write(broken)
    assert await _n(pair[0]) == 0


async def test_a_restart_between_the_last_statement_and_the_commit_is_unavailable(
    pair: Pair, postgres: Postgres
) -> None:
    def broken(c: Connection) -> None:
        _add(c)
        with _away(postgres):
            pass

    with pytest.raises(Unavailable):
        await pair[0].write(broken)
    assert await _n(pair[0]) == 0


async def test_a_service_starts_without_its_database_and_migrations_wait_for_it(
    url: str, postgres: Postgres
) -> None:
    async with Database.open(url, "order") as db:
        with _away(postgres):
            with pytest.raises(Unavailable):
                await db.read(lambda c: c.execute(text("SELECT 1")))
            migrating = asyncio.create_task(migrate(url, "order"))
            await asyncio.sleep(0.1)  # it has met the closed door, or is about to
        await migrating
        assert await db.read(lambda c: c.scalar(text("SELECT count(*) FROM orders"))) == 0


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [("/nowhere?", 'database "nowhere" does not exist'), ("//eve@/", 'role "eve" does not exist')],
)
async def test_a_url_that_nobody_gets_in_with_is_told_at_once(url: str, wrong: str, problem: str) -> None:
    part = url[url.rindex("/test") : url.index("?") + 1] if "nowhere" in wrong else "//meshmart@/"
    bad = url.replace(part, wrong)
    with pytest.raises(ConfigError, match=problem):
        await migrate(bad, "order")
    async with Database.open(bad, "order") as db:
        with pytest.raises(Unavailable):
            await db.read(lambda c: c.execute(text("SELECT 1")))


async def test_two_that_wait_for_each_other_are_told_apart_and_one_may_start_over(pair: Pair) -> None:
    async def both(db: Database, first: int, second: int, met: asyncio.Barrier) -> None:
        def work(c: Connection) -> None:
            _add(c, first)
            await_only(met.wait())
            c.execute(text("SET LOCAL lock_timeout = '10s'"))  # or that would end it
            _add(c, second)

        await db.write(work)

    met = asyncio.Barrier(2)
    ends = await asyncio.gather(both(pair[0], 1, 2, met), both(pair[1], 2, 1, met), return_exceptions=True)
    assert [type(end) for end in ends if end] == [Unavailable]
    assert [await _n(pair[0], 1), await _n(pair[0], 2)] == [1, 1]


@pytest.mark.parametrize("isolation", ["REPEATABLE READ", "SERIALIZABLE"])
async def test_a_serialization_failure_is_unavailable(pair: Pair, isolation: str) -> None:
    def broken(c: Connection) -> None:
        c.execute(text(f"SET TRANSACTION ISOLATION LEVEL {isolation}"))
        c.scalar(text("SELECT n FROM t WHERE id = 1"))
        await_only(pair[1].write(_add))
        _add(c)

    with pytest.raises(Unavailable):
        await pair[0].write(broken)
    assert await _n(pair[0]) == 1


async def test_a_statement_and_a_silence_that_take_too_long_are_ended_and_their_lock_is_free(
    pair: Pair,
) -> None:
    def broken(c: Connection) -> None:
        c.execute(text("SET LOCAL statement_timeout = '50ms'"))
        c.execute(text("SELECT pg_sleep(20)"))

    with pytest.raises(Unavailable):
        await pair[0].write(broken)

    def silent(c: Connection) -> None:
        c.execute(text("SET LOCAL idle_in_transaction_session_timeout = '50ms'"))
        _add(c)
        await_only(pair[1].write(_add))  # waits for the lock until the silence is over
        _add(c)

    with pytest.raises(Unavailable):
        await pair[0].write(silent)
    assert await _n(pair[0]) == 1


@pytest.fixture
async def heard(pair: Pair) -> AsyncIterator["asyncio.Queue[str]"]:
    """What the second replica hears of the first, once it does hear."""
    notices: asyncio.Queue[str] = asyncio.Queue()
    async with pair[1].listen("things", notices.put_nowait):
        await _told(pair[0], notices, "ready")
        yield notices


async def _tell(db: Database, *payloads: str) -> None:
    def tell(c: Connection) -> None:
        for payload in payloads:
            db.notify(c, "things", payload)

    await db.write(tell)


async def _told(db: Database, notices: "asyncio.Queue[str]", word: str) -> None:
    """Says a word until it is heard: a notice may be lost while there is no connection."""
    async with asyncio.timeout(20):
        while True:
            await _tell(db, word)
            try:
                async with asyncio.timeout(0.2):
                    while await notices.get() != word:
                        pass
            except TimeoutError:
                continue
            return


async def _next(notices: "asyncio.Queue[str]", but: str = "ready") -> str:
    """The next notice but one that was said several times."""
    async with asyncio.timeout(20):
        while (notice := await notices.get()) == but:
            pass
        return notice


async def test_a_commit_is_heard_and_a_rollback_is_not(pair: Pair, heard: "asyncio.Queue[str]") -> None:
    def broken(c: Connection) -> None:
        pair[0].notify(c, "things", "never")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await pair[0].write(broken)
    await _tell(pair[0], "1", "1", "2")
    assert {await _next(heard), await _next(heard)} == {"1", "2"}
    await _tell(pair[1], "its own")
    assert await _next(heard) == "its own"


async def test_services_of_one_database_do_not_hear_each_other(
    url: str, pair: Pair, heard: "asyncio.Queue[str]"
) -> None:
    async with Database.open(url, "another") as other:
        await _tell(other, "not for you")
        await asyncio.gather(*(_tell(pair[0], "for you") for _ in range(3)))
        assert await _next(heard) == "for you"


async def test_notices_come_again_after_a_restart(
    pair: Pair, postgres: Postgres, heard: "asyncio.Queue[str]"
) -> None:
    with _away(postgres):
        pass
    await _told_after(pair[0], heard)


async def _told_after(db: Database, notices: "asyncio.Queue[str]") -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                await _told(db, notices, "again")
            except Unavailable:
                continue
            return


async def test_a_flood_of_notices_is_bounded_and_ends(pair: Pair, heard: "asyncio.Queue[str]") -> None:
    for i in range(5):
        await _tell(pair[0], *(f"{i}-{j}" for j in range(1000)))
    await _told(pair[0], heard, "the end")


@pytest.mark.parametrize("payload", ["7", ""], ids=["by key", "all"])
async def test_a_notice_wakes_a_stream_without_a_poll(pair: Pair, payload: str) -> None:
    made: list[Happening] = []

    async def see_nothing(_: Sequence[int]) -> dict[int, int]:
        return {}  # so what the stream learns, it does not learn by the poll

    async def since(after: int, limit: int) -> list[Happening]:
        return made[after : after + limit]

    follower = Follower[int](see_nothing)
    async with following(pair[1], "happenings", follower, int), asyncio.timeout(20):
        stream = follower.follow(7, 0, since)
        for cursor in range(1, 4):
            waiting = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)  # it has found nothing
            made.append(Happening(cursor))
            while not waiting.done():  # again, as the first notices come before the listener
                await pair[0].write(lambda c: pair[0].notify(c, "happenings", payload))
                await asyncio.wait({waiting}, timeout=0.2)
            assert waiting.result().cursor == cursor


async def test_a_second_login_takes_over_while_the_first_one_still_works(
    url: str, postgres: Postgres
) -> None:
    """docs/backup.md: a role has one password, so a login that acts as the owner replaces the one before."""
    page = (Path(__file__).parents[3] / "docs" / "backup.md").read_text()
    (sql,) = re.findall(r"<<END\n(CREATE ROLE.*?)END\n", page, re.DOTALL)
    await migrate(url, "order")
    async with Database.open(url, "order") as first, postgres.connected() as admin:
        await admin.execute(sql.replace("$password", "secret"))
        try:
            second_url = url.replace("meshmart@", "meshmart_2:secret@")
            async with Database.open(second_url, "order") as second:
                await second.write(lambda c: c.execute(text("CREATE TABLE of_the_second (id INTEGER)")))
                await first.write(lambda c: c.execute(text("ALTER TABLE of_the_second ADD n INTEGER")))
            await migrate(second_url, "payment")
            async with Database.open(url, "payment") as owner:
                await owner.write(lambda c: c.execute(text("ALTER TABLE payments ADD of_the_first INTEGER")))
        finally:
            await admin.execute("DROP ROLE meshmart_2")
