"""Reads the details of a choice on demand: only while somebody asks for them."""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from starlette.responses import PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from grpcmesh.clock import Clock
from services.kit.streaming import disconnected, first_of

Key = tuple[str, ...]
"""What is read: the kind, then the choice."""
Read = Callable[[], Awaitable[bytes]]


@dataclass(frozen=True)
class Limits:
    """Limits of what is read on demand. The cost depends on the number of open choices, not of viewers."""

    concurrent: int = 4
    """The most reads at a time."""
    waiting: int = 32
    """The most reads that run or wait for their turn."""
    timeout: float = 10.0
    """Seconds that a read may take, without the time that it waits for its turn."""
    fresh: float = 2.0
    """Seconds for which a result is also returned to later callers."""
    kept: int = 64
    """The most results that are kept for later callers."""


def problem(text: str) -> bytes:
    """Return the answer of a read that found out nothing, as JSON for the page. `text` says why."""
    return json.dumps({"problem": text}).encode()


class BusyError(Exception):
    """Too many reads run or wait."""


class _Running:
    """A read, and the number of those who wait for it."""

    def __init__(self, task: asyncio.Task[bytes]) -> None:
        self.task, self.viewers = task, 0


class Reads:
    """Shares one read among all callers that ask for the same thing.

    Args:
        clock: Monotonic seconds.
        limits: How much is read.
    """

    def __init__(self, clock: Clock, limits: Limits | None = None) -> None:
        self._clock, self._limits = clock, limits or Limits()
        self._turns = asyncio.Semaphore(self._limits.concurrent)
        self._running: dict[Key, _Running] = {}
        self._kept: OrderedDict[Key, tuple[float, bytes]] = OrderedDict()

    @property
    def running(self) -> int:
        """Return the number of reads that run or wait for their turn."""
        return len(self._running)

    async def get(self, key: Key, read: Read) -> bytes:
        """Return the result of a read: one that runs, one that has just ended, or a new one.

        A read is cancelled when all its callers are cancelled.

        Args:
            key: What is read.
            read: Reads it.

        Raises:
            BusyError: there are too many reads.
            TimeoutError: it took too long.
        """
        at, kept = self._kept.get(key, (0.0, b""))
        if kept and self._clock() - at < self._limits.fresh:
            return kept
        running = self._running.get(key) or self._begin(key, read)
        running.viewers += 1
        try:
            return await asyncio.shield(running.task)
        finally:
            running.viewers -= 1
            if not running.viewers:
                await self._end(key, running)

    def _begin(self, key: Key, read: Read) -> _Running:
        if len(self._running) >= self._limits.waiting:
            raise BusyError
        task = asyncio.create_task(self._read(key, read), name=f"read {' '.join(key)}")
        running = self._running[key] = _Running(task)
        return running

    async def _end(self, key: Key, running: _Running) -> None:
        if self._running.get(key) is running:
            del self._running[key]
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)

    async def _read(self, key: Key, read: Read) -> bytes:
        async with self._turns, asyncio.timeout(self._limits.timeout):
            found = await read()
        self._kept[key] = self._clock(), found
        self._kept.move_to_end(key)
        while len(self._kept) > self._limits.kept:
            self._kept.popitem(last=False)
        return found


class OnDemand(Response):
    """Answers a request with something that is read on demand. The read ends when the browser disconnects."""

    def __init__(self, reads: Reads, key: Key, read: Read) -> None:
        super().__init__()
        self._reads, self._key, self._read = reads, key, read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def answer() -> None:
            await (await self._answer())(scope, receive, send)

        await first_of(answer(), disconnected(receive))

    async def _answer(self) -> Response:
        try:
            told = await self._reads.get(self._key, self._read)
        except BusyError:
            return PlainTextResponse("too many reads at a time\n", 503, {"retry-after": "2"})
        except TimeoutError:
            told = problem("it took too long")
        return Response(told, media_type="application/json")
