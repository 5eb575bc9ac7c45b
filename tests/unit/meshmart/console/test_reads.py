"""Reads on demand: one for all who ask, bounded, and cancelled when nobody waits for it any more."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from meshmart.console.reads import BusyError, Limits, Reads


class Source:
    """Something to read, which answers when it is let."""

    def __init__(self) -> None:
        self.begun = self.cancelled = 0
        self.let = asyncio.Event()

    async def read(self) -> bytes:
        self.begun += 1
        try:
            await self.let.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return b"%d" % self.begun


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def settled(condition: Callable[[], object]) -> None:
    """Let other tasks run until something holds."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_all_who_ask_for_the_same_get_one_read() -> None:
    clock, source = Clock(), Source()
    reads = Reads(clock)
    asking = [asyncio.create_task(reads.get(("logs", "product"), source.read)) for _ in range(20)]
    await settled(lambda: source.begun)
    source.let.set()
    assert set(await asyncio.gather(*asking)) == {b"1"}
    assert await reads.get(("logs", "product"), source.read) == b"1"  # just read
    clock.now += Limits().fresh
    assert await reads.get(("logs", "product"), source.read) == b"2"
    assert reads.running == 0


async def test_a_read_ends_when_the_last_of_its_viewers_leaves() -> None:
    source = Source()
    reads = Reads(Clock())
    first, second = (asyncio.create_task(reads.get(("logs", "product"), source.read)) for _ in range(2))
    await settled(lambda: source.begun)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    assert (source.begun, source.cancelled) == (1, 0)
    second.cancel()
    await asyncio.gather(second, return_exceptions=True)
    assert (source.begun, source.cancelled, reads.running) == (1, 1, 0)


async def test_so_many_run_at_a_time_and_no_more_than_so_many_wait() -> None:
    source = Source()
    reads = Reads(Clock(), Limits(concurrent=2, waiting=5))
    asking = [asyncio.create_task(reads.get(("logs", str(i)), source.read)) for i in range(5)]
    await settled(lambda: reads.running == 5 and source.begun == 2)
    with pytest.raises(BusyError):
        await reads.get(("logs", "one more"), source.read)
    assert source.begun == 2
    source.let.set()
    await asyncio.gather(*asking)
    assert source.begun == 5


async def test_a_read_that_takes_too_long_is_cancelled() -> None:
    source = Source()
    reads = Reads(Clock(), Limits(timeout=0.01))
    with pytest.raises(TimeoutError):
        await reads.get(("logs", "product"), source.read)
    assert (source.cancelled, reads.running) == (1, 0)


async def test_an_error_reaches_each_who_waits_and_is_not_kept() -> None:
    reads = Reads(Clock())
    begun = 0

    async def fails() -> bytes:
        nonlocal begun
        begun += 1
        raise OSError("no")

    def ask(read: Callable[[], Awaitable[bytes]]) -> Awaitable[bytes]:
        return reads.get(("logs", "product"), read)

    failed = await asyncio.gather(ask(fails), ask(fails), return_exceptions=True)
    assert [str(e) for e in failed] == ["no", "no"]
    with pytest.raises(OSError, match="no"):
        await ask(fails)
    assert (begun, reads.running) == (2, 0)


async def test_results_are_kept_for_so_many_things_only() -> None:
    source = Source()
    source.let.set()
    reads = Reads(Clock(), Limits(kept=3))
    for i in range(10):
        await reads.get(("logs", str(i)), source.read)
    assert await reads.get(("logs", "9"), source.read) == b"10"
    assert await reads.get(("logs", "0"), source.read) == b"11"
