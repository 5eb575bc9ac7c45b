"""The figures of the last fifteen minutes, in bounded memory. Pure."""

import math
from array import array
from collections.abc import Iterator, Sequence

from meshmart.console.model import Snapshot, Traffic

#: Seconds between two points, and the number of points: fifteen minutes.
STEP, POINTS = 5.0, 180
#: The number of steps by which the clock may be set back without the loss of what is recorded: a minute.
SLACK = 12
#: The most series; each takes some 2 kB.
MAX_SERIES = 6_000
Name = tuple[str, ...]
"""A service, a service and a replica's name, or `edge` and its two services; see `names`."""


class Series:
    """A ring of points: the rate, the failing rate and the p99, each NaN where there is none."""

    def __init__(self) -> None:
        self._points = array("f", [math.nan]) * (3 * POINTS)
        self.seen = 0
        """The number of the step in which it was last written."""

    def put(self, step: int, traffic: Traffic) -> None:
        """Write the point of a step. Steps in between have no values."""
        for missing in range(max(self.seen + 1, step - POINTS + 1), step):
            self._write(missing, math.nan, math.nan, math.nan)
        p99 = math.nan if traffic.p99 is None else traffic.p99
        self._write(step, traffic.rate, traffic.failing, p99)
        self.seen = step

    def read(self, step: int) -> Iterator[tuple[float | None, ...]]:
        """Yield the points up to a step, the oldest first."""
        for number in range(step - POINTS + 1, step + 1):
            if 0 <= number <= self.seen and number > self.seen - POINTS:
                at = number % POINTS * 3
                yield tuple(None if math.isnan(v) else v for v in self._points[at : at + 3])
            else:
                yield None, None, None

    def _write(self, step: int, *values: float) -> None:
        at = step % POINTS * 3
        self._points[at : at + 3] = array("f", values)


class History:
    """The series of every service, replica and edge that was there in the last fifteen minutes."""

    def __init__(self) -> None:
        self._series: dict[Name, Series] = {}
        self._step = -1

    def add(self, snapshot: Snapshot) -> None:
        """Add a snapshot. Of those within one step, the first counts.

        If the clock is set back a little, nothing is added until it has caught up.
        """
        step = int(snapshot.at // STEP)
        if self._step - SLACK <= step <= self._step:
            return
        if step < self._step:  # the clock was set back: what is recorded lies in the future
            self._series.clear()
        self._step = step
        for name, traffic in _traffic(snapshot):
            series = self._series.get(name)
            if series is None:
                if len(self._series) >= MAX_SERIES:
                    continue
                series = self._series[name] = Series()
            series.put(step, traffic)
        self._forget()

    def read(self, name: Sequence[str]) -> list[tuple[float | None, ...]] | None:
        """Return the points of a series, the oldest first: rate, failing rate, p99 in seconds.

        Returns:
            `POINTS` points; None if there is no such series.
        """
        series = self._series.get(tuple(name))
        return None if series is None else list(series.read(self._step))

    @property
    def until(self) -> float:
        """Return the time of the last point, in Unix seconds."""
        return self._step * STEP

    def _forget(self) -> None:
        old = [name for name, series in self._series.items() if series.seen <= self._step - POINTS]
        for name in old:
            del self._series[name]


def _traffic(snapshot: Snapshot) -> Iterator[tuple[Name, Traffic]]:
    for service in snapshot.services:
        yield (service.name,), service.traffic
        for replica in service.replicas:
            yield (service.name, replica.name), replica.traffic
    for edge in snapshot.edges:
        yield ("edge", edge.source, edge.target), edge.traffic
