"""The use cases: count events, tell figures, follow them."""

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
    """The shop's figures, as this process sees them. `look` is to be called every `follow.TICK`.

    Args:
        store: Where they are.
        now: Unix seconds.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, now: Clock, max_age: float = MAX_AGE) -> None:
        self._store, self._now = store, now
        self._follower = Follower[str](self._versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    async def record(self, events: Sequence[Event]) -> int:
        """Counts events, each once; how many were not counted before."""
        return await self._store.record(events) if events else 0

    async def series(self, name: str, start: int, end: int) -> Sequence[Metric]:
        """A metric's figures of the minutes in [start, end).

        Raises:
            FailedPrecondition: TOO_MANY_POINTS, of a metric with a figure for each product.
        """
        found = await self._store.series(name, start, end, MAX_POINTS + 1)
        if len(found) > MAX_POINTS:
            raise FailedPrecondition("there are too many figures; ask about less time", "TOO_MANY_POINTS")
        return found

    async def dashboard(self, minutes: int) -> Dashboard:
        """The figures of that many minutes, the present one included."""
        end = minute_of(self._now()) + MINUTE
        return await self._store.dashboard(end - minutes * MINUTE, end, TOP)

    async def latest(self) -> int:
        """The cursor of the last change."""
        return await self._store.version()

    def follow(self, names: Sequence[str], after: int) -> AsyncGenerator[Metric, None]:
        """Every figure that changes after that cursor, as it then is, without end.

        A reader that lags gets a figure's last value only: the values between are not kept.
        """
        return self._follower.follow("", after, partial(self._store.since, names))

    async def forget(self) -> None:
        """Drops what is too old to be asked about, and to be told of again by the slowest clock."""
        await self._store.forget(self._now() - RETENTION - SKEW)

    async def _versions(self, keys: Sequence[str]) -> Mapping[str, int]:
        version = await self._store.version()
        return dict.fromkeys(keys, version)
