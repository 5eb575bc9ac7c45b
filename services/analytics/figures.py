"""The use cases: count events, return figures, follow them."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial

from grpcmesh.clock import Clock
from grpcmesh.errors import FailedPrecondition
from services.analytics.domain import (
    MAX_POINTS,
    MINUTE,
    RETENTION,
    SKEW,
    TOP,
    Dashboard,
    Event,
    Metric,
    minute_of,
)
from services.analytics.ports import Store
from services.kit.follow import MAX_AGE, Follower


class Figures:
    """The shop's figures. Call `look` every `follow.TICK`.

    Args:
        store: Stores the figures.
        now: Returns the time in Unix seconds.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, now: Clock, max_age: float = MAX_AGE) -> None:
        self._store, self._now = store, now
        self._follower = Follower[str](self._versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    async def record(self, events: Sequence[Event]) -> int:
        """Count events, each once. Return how many were not counted before."""
        return await self._store.record(events) if events else 0

    async def series(self, name: str, start: int, end: int) -> Sequence[Metric]:
        """Return a metric's figures of the minutes in [start, end), in Unix seconds.

        Raises:
            FailedPrecondition: TOO_MANY_POINTS, for a metric with a figure for each product.
        """
        found = await self._store.series(name, start, end, MAX_POINTS + 1)
        if len(found) > MAX_POINTS:
            raise FailedPrecondition("there are too many figures; ask about less time", "TOO_MANY_POINTS")
        return found

    async def dashboard(self, minutes: int) -> Dashboard:
        """Return the figures of the last `minutes` minutes, including the current one."""
        end = minute_of(self._now()) + MINUTE
        return await self._store.dashboard(end - minutes * MINUTE, end, TOP)

    async def latest(self) -> int:
        """Return the cursor of the last change."""
        return await self._store.version()

    def follow(self, names: Sequence[str], after: int) -> AsyncGenerator[Metric, None]:
        """Yield every figure that changes after a cursor, with its value at that moment, without end.

        A reader that lags behind gets only the last value of a figure: values in between are not kept.
        """
        return self._follower.follow("", after, partial(self._store.since, names))

    async def forget(self) -> None:
        """Delete figures and events that are too old to be requested or, with clock skew, reported again."""
        await self._store.forget(self._now() - RETENTION - SKEW)

    async def _versions(self, keys: Sequence[str]) -> Mapping[str, int]:
        version = await self._store.version()
        return dict.fromkeys(keys, version)
