"""What the supervisor undoes when nobody asks for it any more."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeAlias

from grpcmesh.clock import Clock, monotonic
from local.errors import ClusterError

Undo: TypeAlias = Callable[[], Awaitable[object]]

#: Seconds, the longest lease.
LONGEST = 3600.0


class Leases:
    """Disturbances that end unless they are renewed.

    Args:
        tell: Takes a line for each that was undone here.
        clock: Monotonic seconds.
    """

    def __init__(self, tell: Callable[[str], None], clock: Clock = monotonic) -> None:
        self._tell, self._clock = tell, clock
        self._ends: dict[str, tuple[float, Undo]] = {}
        self._changed = asyncio.Event()

    def hold(self, what: str, seconds: float, undo: Undo) -> None:
        """Takes a lease, or renews it; what the first one said to undo stays.

        Args:
            what: Names it.
            seconds: After which it is undone.
            undo: Undoes it.
        """
        _, first = self._ends.get(what, (0.0, undo))
        self._ends[what] = (self._clock() + seconds, first)
        self._changed.set()

    def __contains__(self, what: str) -> bool:
        return what in self._ends

    def drop(self, what: str) -> Undo | None:
        """Forgets a lease, as somebody else sees to it; returns what would have undone it."""
        _, undo = self._ends.pop(what, (0.0, None))
        return undo

    async def run(self) -> None:
        """Undoes what is over, until cancelled."""
        while True:
            self._changed.clear()
            for what in [what for what, (end, _) in self._ends.items() if end <= self._clock()]:
                await self._end(what)
            try:
                async with asyncio.timeout(self._next()):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _end(self, what: str) -> None:
        undo = self.drop(what)
        self._tell(f"nobody renews the lease of {what}: it is undone")
        try:
            if undo is not None:
                await undo()
        except ClusterError as e:
            self._tell(f"{what} could not be undone: {e}")

    def _next(self) -> float | None:
        ends = [end for end, _ in self._ends.values()]
        return max(0.0, min(ends) - self._clock()) if ends else None
