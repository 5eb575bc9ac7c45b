"""Recent latency of a method, for "hedge what takes longer than 95 % of calls do"."""

import math

from grpcmesh.clock import Clock

#: Buckets grow by this factor: a percentile is right within 10 %.
_GROWTH = 1.2
_LEAST = 0.0001
_BUCKETS = 80
#: Seconds in which an answer loses half of its weight.
_HALF_LIFE = 30.0
#: Seconds between two computations of the percentile.
_PERIOD = 0.1
#: Weight of answers without which there is no percentile yet.
_ENOUGH = 20.0


class LatencyHistogram:
    """Counts answers in buckets of exponentially growing latency; old ones fade.

    Args:
        percentile: In (0, 100].
        clock: Monotonic seconds.
    """

    def __init__(self, percentile: float, clock: Clock) -> None:
        self._share, self._clock = percentile / 100, clock
        self._weights = [0.0] * _BUCKETS
        self._total = 0.0
        #: An answer weighs the more the later it comes, so that the older ones need not be touched.
        self._epoch = clock()
        self._due = 0.0
        self._value: float | None = None

    def add(self, latency: float) -> None:
        """An answer took so many seconds."""
        now = self._clock()
        if now - self._epoch > 10 * _HALF_LIFE:
            self._fade(now)
        weight = 2.0 ** ((now - self._epoch) / _HALF_LIFE)
        self._weights[_bucket(latency)] += weight
        self._total += weight

    def value(self) -> float | None:
        """The percentile in seconds; None before there are enough answers."""
        now = self._clock()
        if now >= self._due:
            self._value, self._due = self._compute(now), now + _PERIOD
        return self._value

    def _compute(self, now: float) -> float | None:
        if self._total < _ENOUGH * 2.0 ** ((now - self._epoch) / _HALF_LIFE):
            return None
        wanted, seen = self._share * self._total, 0.0
        for index, weight in enumerate(self._weights):
            seen += weight
            if seen >= wanted:
                return _LEAST * _GROWTH**index
        return _LEAST * _GROWTH ** (_BUCKETS - 1)

    def _fade(self, now: float) -> None:
        factor = 2.0 ** ((self._epoch - now) / _HALF_LIFE)
        self._weights = [weight * factor for weight in self._weights]
        self._total = sum(self._weights)
        self._epoch = now


def _bucket(latency: float) -> int:
    """The first bucket whose upper bound is not below the latency."""
    if latency <= _LEAST:
        return 0
    return min(_BUCKETS - 1, math.ceil(math.log(latency / _LEAST, _GROWTH)))
