"""Rolling restarts of a service while its methods are used."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.databases import Databases, Maker

from .replicakit import Fleet, fleet
from .servicekit import MAKERS

Code = grpc.StatusCode
#: What a client answers by sending the same again.
AGAIN = (Code.UNAVAILABLE, Code.CANCELLED)
NOW = 1_767_225_600.0
Start = Callable[[str], Awaitable[Fleet]]


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases(*MAKERS)


@pytest.fixture
async def start(databases: Databases, tmp_path: Path) -> AsyncIterator[Start]:
    """Starts two replicas of a service."""
    async with AsyncExitStack() as stack:

        async def started(service: str) -> Fleet:
            make = MAKERS[service](databases.url(service))
            return await stack.enter_async_context(fleet(service, tmp_path, make))

        yield started


class Restart:
    """All replicas are replaced, one after the other. It waits for the test, which calls `step` after each
    round of what it does: so there is one before, between and after them, however slow the machine is."""

    def __init__(self, service: Fleet) -> None:
        self._service, self._round = service, asyncio.Event()
        self.task = asyncio.create_task(self._replace_all())

    @property
    def over(self) -> bool:
        return self.task.done()

    def step(self) -> None:
        """A round is done."""
        self._round.set()

    async def _replace_all(self) -> None:
        for old in list(self._service.replicas):
            await self._one_round()
            await self._service.start()
            await self._one_round()
            await self._service.leave(old)
        await self._one_round()

    async def _one_round(self) -> None:
        for _ in "ab":  # the first may have begun before
            self._round.clear()
            await self._round.wait()


@asynccontextmanager
async def restarting(service: Fleet) -> AsyncIterator[Restart]:
    """Replaces all replicas; the block ends when that has."""
    async with asyncio.timeout(150):
        restart = Restart(service)
        try:
            yield restart
            await restart.task
        finally:
            restart.task.cancel()


async def again(send: Callable[[], Awaitable[Any]]) -> Any:
    """Sends the same until it is answered."""
    while True:
        try:
            return await send()
        except grpc.aio.AioRpcError as e:
            if e.code() not in AGAIN:
                raise
            await asyncio.sleep(0.02)


class Reader:
    """Reads all pages of something, over and over; a page that is cut is read again."""

    def __init__(self, open_page: Callable[[int], Any]) -> None:
        self._open = open_page
        self.answered_by: set[str] = set()

    async def everything(self) -> list[Any]:
        found: list[Any] = []
        for page in itertools.count(1):
            more = await again(lambda page=page: self._page(page))
            if not more:
                return found
            found += more
        raise AssertionError

    async def _page(self, number: int) -> list[Any]:
        call = self._open(number)
        found = [message async for message in call]
        self.answered_by.add(str(call.endpoint))
        return found


async def reads_the_same_throughout(service: Fleet, open_page: Callable[[int], Any], wanted: int) -> None:
    reader = Reader(open_page)
    before = await reader.everything()
    assert len(before) == wanted
    async with restarting(service) as restart:
        while not restart.over:
            assert await reader.everything() == before
            restart.step()
    assert len(reader.answered_by) > 2  # old ones and new ones
