"""The latest readings of one replica: rates and quantiles over the last seconds. Pure."""

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from meshmart.console.series import COUNTERS, Key

#: Seconds over which rates are taken.
SPAN = 10.0
_START = ("started",)


@dataclass(frozen=True, slots=True)
class Reading:
    """The values of one metrics page."""

    at: float
    """When it was read, in monotonic seconds."""
    values: Mapping[Key, float]


class Window:
    """The readings of one process within `SPAN` seconds, but always the last two."""

    def __init__(self) -> None:
        self._readings: deque[Reading] = deque()
        self._rates: Mapping[Key, float] | None = {}

    @property
    def last(self) -> Reading | None:
        return self._readings[-1] if self._readings else None

    def add(self, reading: Reading) -> None:
        """Add a reading. One of another process, whose counters began again, replaces all before it."""
        if (last := self.last) and last.values.get(_START) != reading.values.get(_START):
            self._readings.clear()
        self._readings.append(reading)
        self._rates = None
        while len(self._readings) > 2 and self._readings[1].at <= reading.at - SPAN:
            self._readings.popleft()

    def rates(self) -> Mapping[Key, float]:
        """Return by how much each counter grew per second. Empty before the second reading."""
        if self._rates is None:
            self._rates = self._grown()
        return self._rates

    def _grown(self) -> Mapping[Key, float]:
        if len(self._readings) < 2:
            return {}
        first, last = self._readings[0], self._readings[-1]
        seconds = last.at - first.at
        if seconds <= 0:
            return {}
        before = first.values
        return {
            key: max(0.0, value - before.get(key, 0.0)) / seconds
            for key, value in last.values.items()
            if key[0] in COUNTERS
        }


def bound(text: str) -> float:
    """Return the upper bound of a bucket, in seconds; infinite if it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.inf


def quantile(q: float, buckets: Mapping[float, float]) -> float | None:
    """Return a quantile in seconds, interpolated as Prometheus' `histogram_quantile` does.

    Args:
        q: The quantile, from 0 to 1.
        buckets: The cumulative count, or rate, by upper bound.

    Returns:
        None if nothing was observed, or if there is no bucket without a bound.
    """
    total = buckets.get(math.inf, 0.0)
    if total <= 0:
        return None
    rank, lower, below = q * total, 0.0, 0.0
    for bound in sorted(buckets):
        count = buckets[bound]
        if count >= rank:
            if math.isinf(bound):
                return lower
            return lower + (bound - lower) * (rank - below) / (count - below) if count > below else bound
        lower, below = bound, count
    return lower
