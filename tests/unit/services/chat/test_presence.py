from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest

from grpcmesh.errors import Unavailable
from services.chat import presence as module
from services.chat.domain import Author
from services.chat.presence import REFRESH, TTL, Presence, leaving
from services.chat.storage import SqlAttendance
from services.kit.db import Database
from tests.databases import Maker

BOB, CHARLIE = Author(2, "bob"), Author(3, "charlie")


@dataclass
class Clock:
    now: float = 1_767_225_600.0

    def __call__(self) -> float:
        return self.now


@dataclass
class House:
    """Two replicas, whose background work a test does by hand."""

    one: Presence
    two: Presence
    clock: Clock
    attendance: SqlAttendance

    async def pass_(self, seconds: float, *alive: Presence) -> None:
        for _ in range(round(seconds * 2)):
            self.clock.now += 0.5
            for presence in alive:
                await presence.keep()


@pytest.fixture
async def house(new_databases: Maker) -> AsyncIterator[House]:
    url = new_databases("chat").url("chat")
    clock = Clock()
    async with AsyncExitStack() as stack:
        one, two = [SqlAttendance(await stack.enter_async_context(Database.open(url, "chat"))) for _ in "ab"]
        yield House(Presence(one, clock), Presence(two, clock), clock, one)


async def _online(presence: Presence, room: str = "tea") -> list[Author]:
    return [author async for author in presence.online(room)]


async def test_a_user_with_two_streams_is_there_once_until_the_last_ends(house: House) -> None:
    async with house.one.staying("tea", BOB):
        async with house.two.staying("tea", BOB), house.two.staying("tea", CHARLIE):
            assert await _online(house.one) == [BOB, CHARLIE]
            assert await _online(house.one, "other") == []
        await house.two.keep()
        assert await _online(house.two) == [BOB]
    await house.one.keep()
    assert await _online(house.two) == []


async def test_those_who_stay_are_spoken_for_as_long_as_they_stay(house: House) -> None:
    async with house.one.staying("tea", BOB):
        await house.pass_(5 * TTL, house.one, house.two)
        assert await _online(house.two) == [BOB]


async def test_who_was_at_a_dead_replica_is_gone_after_the_ttl(house: House) -> None:
    async with house.one.staying("tea", BOB), house.two.staying("tea", CHARLIE):
        await house.pass_(TTL - REFRESH - 1, house.two)
        assert await _online(house.two) == [BOB, CHARLIE]
        await house.pass_(REFRESH + 1.5, house.two)
        assert await _online(house.two) == [CHARLIE]
        # It was not dead, it only stood still: its users are back with its next word.
        await house.one.keep()
        assert await _online(house.two) == [BOB, CHARLIE]


async def test_a_process_that_leaves_strikes_out_its_streams(house: House) -> None:
    async with leaving(house.one), house.one.staying("tea", BOB):
        assert await _online(house.two) == [BOB]
    assert await _online(house.two) == []


async def test_a_database_that_is_away_at_the_end_costs_nothing_but_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(ids: list[str]) -> None:
        raise Unavailable("away")

    async with house.one.staying("tea", BOB):
        pass
    monkeypatch.setattr(house.attendance, "leave", away)
    with pytest.raises(Unavailable):
        await house.one.keep()
    monkeypatch.undo()
    await house.pass_(TTL, house.one)
    assert await _online(house.two) == []


async def test_any_number_of_users_is_told_in_batches(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 3)
    users = [Author(n, f"user {n}") for n in range(1, 11)]
    async with AsyncExitStack() as stack:
        for user in users:
            await stack.enter_async_context(house.one.staying("tea", user))
        assert await _online(house.two) == users
        await house.pass_(2 * TTL, house.one)
        assert await _online(house.two) == users
    await house.one.keep()
    assert await _online(house.two) == []
