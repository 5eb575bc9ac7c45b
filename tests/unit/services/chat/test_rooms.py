import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from typing import Any

import pytest

from grpcmesh.errors import FailedPrecondition
from services.chat import storage
from services.chat.domain import Author, Draft
from services.chat.rooms import Rooms
from services.chat.storage import SqlStore
from services.kit.background import repeating
from services.kit.db import Database
from services.kit.paging import Page
from tests.databases import Maker, before_next_read

NOW = 1_767_225_600.0
BOB, CHARLIE = Author(2, "bob"), Author(3, "charlie")
Pair = tuple[Rooms, Rooms]


@pytest.fixture
async def pair(new_databases: Maker) -> AsyncIterator[Pair]:
    """Two replicas with connections of their own."""
    url = new_databases("chat").url("chat")
    async with AsyncExitStack() as stack:
        one, two = [
            Rooms(
                SqlStore(await stack.enter_async_context(Database.open(url, "chat", lock_timeout=60))),
                lambda: NOW,
            )
            for _ in "ab"
        ]
        yield one, two


def _said(text: str, author: Author = BOB, key: str | None = None, room: str = "tea") -> Draft:
    return Draft(room, author, text, key)


async def test_cursors_have_no_gaps_and_readers_miss_nothing_under_concurrent_writers(pair: Pair) -> None:
    heard = list[tuple[int, str]]()

    async def listen() -> None:
        async with aclosing(pair[1].follow("tea", 0)) as messages:
            async for message in messages:
                heard.append((message.cursor, message.text))
                if len(heard) == 100:
                    return

    async with asyncio.timeout(60), repeating(pair[1].look, 0.01, "look"), asyncio.TaskGroup() as group:
        group.create_task(listen())
        for n in range(100):
            group.create_task(pair[n % 2].post(_said(str(n))))
    assert [cursor for cursor, _ in heard] == list(range(1, 101))
    assert {text for _, text in heard} == {str(n) for n in range(100)}


async def test_what_is_old_is_forgotten_and_pages_and_cursors_go_on(
    new_databases: Maker,
) -> None:
    now = NOW
    async with Database.open(new_databases("chat").url("chat"), "chat") as db:
        rooms = Rooms(SqlStore(db), lambda: now)
        for n in range(10):
            await rooms.post(_said(str(n), key=f"k{n}"))
            now += 1
        assert await rooms.forget(6) == 4
        assert await rooms.forget(6) == 0
        pages = [(await rooms.history("tea", Page(4, offset))).items for offset in (0, 4, 8)]
        assert [[m.text for m in page] for page in pages] == [list("4567"), list("89"), []]
        assert (await rooms.post(_said("0", key="k0"))).cursor == 11  # its key went with it
        assert await rooms.latest("tea") == 11


async def test_a_retry_at_another_replica_leaves_no_gap(pair: Pair) -> None:
    drafts = [_said(str(n), key=f"k{n}") for n in range(20)]
    posted = await asyncio.gather(*(rooms.post(draft) for draft in drafts for rooms in pair))
    assert {m.cursor for m in posted} == set(range(1, 21))
    history = (await pair[0].history("tea", Page(100))).items
    assert [m.cursor for m in history] == list(range(1, 21))
    assert {(m.cursor, m.text) for m in posted} == {(m.cursor, m.text) for m in history}


async def test_a_message_that_is_dropped_while_it_is_sent_again_is_said_anew(
    new_databases: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = new_databases("chat").url("chat")
    async with Database.open(url, "chat") as db, Database.open(url, "chat") as other:
        store = SqlStore(db)
        write = db.write

        async def somebody_is_quicker(work: Any) -> Any:
            monkeypatch.undo()
            await SqlStore(other).post(_said("x", key="k"), NOW)
            before_next_read(monkeypatch, db, lambda: SqlStore(other).forget(NOW + 1))
            return await write(work)

        monkeypatch.setattr(db, "write", somebody_is_quicker)
        assert (await store.post(_said("x", key="k"), NOW)).cursor == 2


async def test_a_key_belongs_to_a_user_in_a_room_and_to_one_text(pair: Pair) -> None:
    first = await pair[0].post(_said("x", key="k"))
    assert await pair[1].post(_said("x", key="k")) == first
    assert (await pair[1].post(_said("y", CHARLIE, key="k"))).cursor == 2
    assert (await pair[1].post(_said("y", key="k", room="other"))).cursor == 1
    with pytest.raises(FailedPrecondition):
        await pair[0].post(_said("y", key="k"))
    assert (await pair[0].post(_said("x"))).cursor == 3


async def test_a_room_too_many_is_refused_and_leaves_nothing(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "MAX_ROOMS", 2)
    for room in ("a", "b", "a"):
        await pair[0].post(_said("x", room=room))
    with pytest.raises(FailedPrecondition) as refused:
        await pair[1].post(_said("x", room="c"))
    assert refused.value.reason.reason == "TOO_MANY_ROOMS"
    assert [await pair[0].latest(room) for room in "abc"] == [2, 1, 0]


async def test_streams_of_the_own_process_hear_without_waiting_for_a_look(pair: Pair) -> None:
    async with asyncio.timeout(60), aclosing(pair[0].follow("tea", 0)) as messages:
        following = asyncio.ensure_future(anext(messages))
        await pair[0].post(_said("x"))
        assert (await following).text == "x"
