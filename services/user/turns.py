"""Decides whose turn it is to have a password hashed: fair between addresses and accounts, and bounded.

A hash takes a quarter of a second of a core on purpose, so a client that sends many log-ins at once would
keep all others waiting. Here a request queues behind those that have fewer requests of their own before them:
first of the same account and address, then of the same address, then in the order of arrival.
"""

import asyncio
import heapq
import itertools
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from grpcmesh.errors import ResourceExhausted
from services.user.domain import Origin

#: Seconds after which a rejected client may try again.
RETRY_AFTER = 1.0


@dataclass(order=True, slots=True)
class _Waiter:
    rank: tuple[int, int, int]
    origin: Origin = field(compare=False)
    turn: "asyncio.Future[None]" = field(compare=False)


class Turns:
    """Hands out turns, fairly between origins.

    Args:
        concurrency: The number of turns at a time.
        waiting: The most requests that wait in all. Beyond that the one with the worst rank is rejected.
        of_one: The most requests of one account and address that wait or have a turn.
    """

    def __init__(self, concurrency: int = 2, waiting: int = 256, of_one: int = 18) -> None:
        self._free, self._most, self._of_one = concurrency, waiting, of_one
        self._waiters: list[_Waiter] = []
        self._present: Counter[Origin] = Counter()
        self._addresses: Counter[str] = Counter()
        self._numbers = itertools.count()

    @asynccontextmanager
    async def turn(self, origin: Origin) -> AsyncIterator[None]:
        """Wait for a turn, and hold it for the block.

        Args:
            origin: On whose behalf the password is hashed.

        Raises:
            ResourceExhausted: too many requests wait, most of them of this origin.
        """
        rank = (self._present[origin], self._addresses[origin.address], next(self._numbers))
        if rank[0] >= self._of_one:
            raise _refused()
        self._present[origin] += 1
        self._addresses[origin.address] += 1
        try:
            await self._wait(_Waiter(rank, origin, asyncio.get_running_loop().create_future()))
            try:
                yield
            finally:
                self._free += 1
                self._call_next()
        finally:
            self._leave(origin)

    async def _wait(self, waiter: _Waiter) -> None:
        heapq.heappush(self._waiters, waiter)
        self._call_next()
        if len(self._waiters) > self._most:
            worst = max(self._waiters)
            self._drop(worst)
            worst.turn.set_exception(_refused())
        try:
            await waiter.turn
        except asyncio.CancelledError:
            if waiter in self._waiters:
                self._drop(waiter)
            elif not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self._free += 1  # its turn had just come
                self._call_next()
            raise

    def _call_next(self) -> None:
        while self._free and self._waiters:
            waiter = heapq.heappop(self._waiters)
            if not waiter.turn.done():
                self._free -= 1
                waiter.turn.set_result(None)

    def _drop(self, waiter: _Waiter) -> None:
        self._waiters.remove(waiter)
        heapq.heapify(self._waiters)

    def _leave(self, origin: Origin) -> None:
        self._present[origin] -= 1
        self._addresses[origin.address] -= 1
        if not self._present[origin]:
            del self._present[origin]
        if not self._addresses[origin.address]:
            del self._addresses[origin.address]


def _refused() -> ResourceExhausted:
    return ResourceExhausted("too many log-ins at once", retry_after=RETRY_AFTER)
