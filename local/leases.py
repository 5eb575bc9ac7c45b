"""Leases of the supervisor: disturbances that are undone unless somebody renews them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from grpcmesh.clock import Clock, monotonic
from local.errors import ClusterError

Undo: TypeAlias = Callable[[], Awaitable[object]]

#: The longest lease, in seconds.
LONGEST = 3600.0
#: Seconds after which what could not be undone is tried again.
AGAIN = 30.0


class Leases:
    """Disturbances that end unless they are renewed.

    Args:
        tell: Called with a line for each lease that ended.
        clock: Monotonic seconds.
    """

    def __init__(self, tell: Callable[[str], None], clock: Clock = monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._ends: dict[str, tuple[float, Undo]] = {}
        self._changed = asyncio.Event()

    def hold(self, what: str, seconds: float, undo: Undo) -> None:
        """Begin or renew a lease. A renewal keeps the `undo` of the first call.

        Args:
            what: Names the lease.
            seconds: The time after which it is undone.
            undo: Undoes it.
        """
        _, first = self._ends.get(what, (0.0, undo))
        self._ends[what] = (self._clock() + seconds, first)
        self._changed.set()

    def __contains__(self, what: str) -> bool:
        return what in self._ends

    def drop(self, what: str) -> None:
        """Forget a lease, because the caller has replaced or undone what it was for."""
        self._ends.pop(what, None)

    async def end(self, what: str) -> None:
        """Undo a lease now, if there is one.

        Raises:
            ClusterError: it could not be undone. It is tried again later.
        """
        if what in self._ends:
            await self._undo(what, self._ends.pop(what)[1])

    async def run(self) -> None:
        """Undo ended leases, until cancelled. One that takes long to undo does not delay the others."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for what in [what for what, (end, _) in self._ends.items() if end <= self._clock()]:
                    group.create_task(self._end(what, self._ends.pop(what)[1]))
                try:
                    async with asyncio.timeout(self._next()):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _end(self, what: str, undo: Undo) -> None:
        if what in self._ends:
            return  # somebody took it before this task began, and its new end undoes it
        self._tell(f"nobody renews the lease of {what}: it is undone")
        try:
            await self._undo(what, undo)
        except ClusterError as e:
            self._tell(f"{what} could not be undone, and is tried again in {AGAIN:g} s: {e}")

    async def _undo(self, what: str, undo: Undo) -> None:
        try:
            await undo()
        except ClusterError:
            # If somebody took the lease meanwhile, the end of that lease undoes it.
            if what not in self._ends:
                self.hold(what, AGAIN, undo)
            raise

    def _next(self) -> float | None:
        ends = [end for end, _ in self._ends.values()]
        return max(0.0, min(ends) - self._clock()) if ends else None
