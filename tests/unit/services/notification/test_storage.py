"""Notifications on a real database, of either kind."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from services.kit.db import Database
from services.kit.paging import Page
from services.notification.domain import Draft, Kind
from services.notification.storage import SqlStore
from services.notification.tables import forgotten, metadata
from tests.databases import Maker, before_next_read

NOW = 1_767_225_600.25


@pytest.fixture
async def dbs(new_databases: Maker) -> AsyncIterator[tuple[Database, Database]]:
    """Two replicas' connections to one database."""
    url = new_databases("notification").url("notification")
    async with AsyncExitStack() as stack:
        one, two = [
            await stack.enter_async_context(Database.open(url, "notification", lock_timeout=60)) for _ in "ab"
        ]
        yield one, two


def _draft(event_id: str | None = None, user_id: int = 2, title: str = "t") -> Draft:
    return Draft(user_id, Kind.ORDER, title, "b", event_id)


async def test_what_was_told_is_read_back(dbs: tuple[Database, Database]) -> None:
    store = SqlStore(dbs[0])
    told = await store.add(_draft("e"), NOW)
    assert (told.user_id, told.cursor, told.kind, told.title, told.body) == (2, 1, Kind.ORDER, "t", "b")
    assert told.created_at == NOW
    assert (await SqlStore(dbs[1]).page(2, Page(10))).items == [told]


async def test_an_event_is_taken_once_whichever_replica_gets_it(dbs: tuple[Database, Database]) -> None:
    sent = await asyncio.gather(
        *(SqlStore(dbs[n % 2]).add(_draft("e", title=str(n)), NOW) for n in range(20))
    )
    assert len({told.id for told in sent}) == 1
    assert (await SqlStore(dbs[0]).page(2, Page(10))).items == sent[:1]


async def test_an_event_that_is_dropped_while_it_is_sent_again_is_told_anew(
    dbs: tuple[Database, Database], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other = SqlStore(dbs[0]), SqlStore(dbs[1])
    await store.add(_draft("e"), NOW)
    before_next_read(monkeypatch, dbs[0], lambda: other.forget(NOW + 1))
    assert (await store.add(_draft("e"), NOW)).cursor == 2


async def test_without_an_event_it_is_told_each_time(dbs: tuple[Database, Database]) -> None:
    first, second = [await SqlStore(dbs[0]).add(_draft(), NOW) for _ in "ab"]
    assert (first.cursor, second.cursor) == (1, 2)


async def test_cursors_of_a_user_have_no_gaps(dbs: tuple[Database, Database]) -> None:
    drafts = [_draft(f"e{n % 30}", user_id=2 + n % 3) for n in range(60)]  # each event twice
    await asyncio.gather(*(SqlStore(dbs[n % 2]).add(draft, NOW) for n, draft in enumerate(drafts)))
    for user_id in (2, 3, 4):
        assert [n.cursor for n in await SqlStore(dbs[0]).since(user_id, 0, 100)] == list(range(1, 11))
    assert await SqlStore(dbs[0]).versions([2, 3, 4, 5]) == {2: 10, 3: 10, 4: 10}


async def test_a_list_is_newest_first_and_a_continuation_oldest_first(dbs: tuple[Database, Database]) -> None:
    store = SqlStore(dbs[0])
    for _ in range(5):
        await store.add(_draft(), NOW)
    assert [n.cursor for n in (await store.page(2, Page(2, 1))).items] == [4, 3]
    assert [n.cursor for n in await store.since(2, 2, 2)] == [3, 4]


async def test_what_is_old_is_forgotten_and_cursors_go_on(dbs: tuple[Database, Database]) -> None:
    store, other = (SqlStore(db) for db in dbs)
    for n in range(5):
        await store.add(_draft(f"e{n}"), NOW + n)
    assert sorted(await asyncio.gather(store.forget(NOW + 3), other.forget(NOW + 2))) in ([0, 3], [1, 2])
    assert [n.cursor for n in (await store.page(2, Page(10))).items] == [5, 4]
    assert [n.cursor for n in await store.since(2, 0, 10)] == [4, 5]
    assert (await store.add(_draft("e9"), NOW)).cursor == 6
    assert await dbs[0].read(lambda c: c.scalar(sa.select(forgotten.c.before))) == NOW + 3


async def test_the_migrations_make_the_tables_that_the_code_speaks_of(
    dbs: tuple[Database, Database],
) -> None:
    differences = await dbs[0].read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    assert [d for d in differences if d[1].name != "alembic_version"] == []
