import asyncio
from collections import defaultdict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest

from grpcmesh.config import ConfigError
from grpcmesh.errors import ResourceExhausted, Unavailable
from grpcmesh.testing.clock import run_in_virtual_time
from services.kit import follow as module
from services.kit.background import repeating
from services.kit.follow import MAX_AGE, READ, Follower, stream_max_age


@dataclass(frozen=True)
class Said:
    cursor: int


@dataclass
class Table:
    """What others write; reading counts."""

    rows: defaultdict[str, list[Said]] = field(default_factory=lambda: defaultdict(list))
    reads: int = 0
    queries: int = 0
    largest: int = 0

    def write(self, key: str, count: int = 1) -> None:
        for _ in range(count):
            self.rows[key] += [Said(len(self.rows[key]) + 1)]

    async def since(self, key: str, after: int, limit: int) -> Sequence[Said]:
        self.reads += 1
        found = self.rows[key][after : after + limit]
        self.largest = max(self.largest, len(found))
        await asyncio.sleep(0.01)
        return found

    async def versions(self, keys: Sequence[str]) -> Mapping[str, int]:
        self.queries += 1
        return {key: len(self.rows[key]) for key in keys if self.rows[key]}


@dataclass
class Reader:
    seen: list[int] = field(default_factory=list)

    async def read(
        self, follower: Follower[str], table: Table, key: str, after: int = 0, most: int = 10**9
    ) -> None:
        stream = follower.follow(key, after, partial(table.since, key))
        async with aclosing(stream):
            async for item in stream:
                self.seen.append(item.cursor)
                if len(self.seen) >= most:
                    return


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


Scene = Callable[[], Coroutine[Any, Any, None]]


def virtual(scene: Scene) -> Callable[[], None]:
    def test() -> None:
        run_in_virtual_time(scene())

    test.__name__ = scene.__name__
    return test


@virtual
async def test_a_reader_sees_every_item_once_and_in_order_while_others_write() -> None:
    table, reader = Table(), Reader()
    follower = Follower(table.versions)
    async with repeating(follower.look, 0.2, "look"):
        task = asyncio.create_task(reader.read(follower, table, "a", most=100))
        for _ in range(100):
            table.write("a")
            await asyncio.sleep(0.007)
        await task
    assert reader.seen == list(range(1, 101))


@virtual
async def test_a_commit_during_the_read_is_not_overlooked() -> None:
    table, reader = Table(), Reader()
    follower = Follower(table.versions)
    async with repeating(follower.look, 0.2, "look"):
        task = asyncio.create_task(reader.read(follower, table, "a", most=1))
        await asyncio.sleep(0.005)  # the read has its rows, none, and has not returned
        table.write("a")
        await task
    assert reader.seen == [1]


@virtual
async def test_one_query_a_look_whatever_the_number_of_streams_and_no_read_without_news() -> None:
    table = Table()
    table.write("a", 3)
    follower = Follower(table.versions)
    tasks = [asyncio.create_task(Reader().read(follower, table, key)) for key in "aaab" for _ in range(10)]
    await asyncio.sleep(0.1)
    reads = table.reads
    for _ in range(5):
        await follower.look()
        await asyncio.sleep(0.1)
    assert (table.queries, table.reads) == (5, reads)
    for task in tasks:
        await _ended(task)
    assert follower.streams == 0
    await follower.look()
    assert table.queries == 5  # nobody follows, nobody asks


@virtual
async def test_a_notice_wakes_without_waiting_for_the_next_look() -> None:
    table, ours, theirs = Table(), Reader(), Reader()
    follower = Follower(table.versions)
    tasks = [
        asyncio.create_task(ours.read(follower, table, "a")),
        asyncio.create_task(theirs.read(follower, table, "b")),
    ]
    await asyncio.sleep(0.1)
    table.write("a")
    table.write("b")
    follower.wake("a")
    await asyncio.sleep(0.1)
    assert (ours.seen, theirs.seen) == ([1], [])
    follower.wake()
    follower.wake("nobody follows this")
    await asyncio.sleep(0.1)
    assert theirs.seen == [1]
    for task in tasks:
        await _ended(task)


@virtual
async def test_a_slow_reader_lags_in_the_table_and_loses_nothing() -> None:
    table, seen = Table(), list[int]()
    table.write("a")
    follower = Follower(table.versions)
    async with repeating(follower.look, 0.2, "look"):
        stream = follower.follow("a", 0, partial(table.since, "a"))
        async with aclosing(stream):
            seen.append((await anext(stream)).cursor)
            table.write("a", 2000)
            await asyncio.sleep(60)
            assert table.reads == 1  # nothing was read ahead
            seen += [(await anext(stream)).cursor for _ in range(2000)]
    assert seen == list(range(1, 2002))
    assert table.largest == READ == 100


@pytest.mark.parametrize("busy", [False, True])
def test_a_stream_that_is_old_is_told_to_resume_and_others_at_other_times(busy: bool) -> None:
    async def scene() -> None:
        table, ends, started = Table(), list[float](), asyncio.get_running_loop().time()
        follower = Follower(table.versions, max_age=100)

        async def one() -> None:
            with pytest.raises(Unavailable, match="resume"):
                await Reader().read(follower, table, "a")
            ends.append(asyncio.get_running_loop().time() - started)

        async def write() -> None:
            table.write("a")
            follower.wake()

        async with repeating(write, 0.01 if busy else 1000, "write"):
            await asyncio.gather(*(one() for _ in range(20)))
        assert all(89.9 < end < 100.1 for end in ends)
        assert max(ends) - min(ends) > 1

    run_in_virtual_time(scene())


def test_streams_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_STREAMS", 2)

    async def scene() -> None:
        table = Table()
        follower = Follower(table.versions)
        tasks = [asyncio.create_task(Reader().read(follower, table, "a")) for _ in range(2)]
        await asyncio.sleep(0.1)
        with pytest.raises(ResourceExhausted):
            await Reader().read(follower, table, "b")
        await _ended(tasks[0])
        tasks.append(asyncio.create_task(Reader().read(follower, table, "b")))
        await asyncio.sleep(0.1)
        assert follower.streams == 2
        for task in tasks:
            await _ended(task)

    run_in_virtual_time(scene())


def test_the_age_comes_from_the_environment() -> None:
    assert stream_max_age({}) == MAX_AGE
    assert stream_max_age({"MESHMART_STREAM_MAX_AGE": "30"}) == 30
    for wrong in ("0", "-1", "nan", "inf", "soon"):
        with pytest.raises(ConfigError, match="MESHMART_STREAM_MAX_AGE"):
            stream_max_age({"MESHMART_STREAM_MAX_AGE": wrong})
