"""Estimates percentiles of a method's recent latency, to hedge calls that take longer than, say, 95 %."""

import math

from grpcmesh.clock import Clock

#: Factor between the bounds of two buckets. A percentile is accurate within about 10 %.
_GROWTH = 1.2
_LEAST = 0.0001
_BUCKETS = 80
#: Seconds in which an answer loses half of its weight.
_HALF_LIFE = 30.0
#: Seconds between two computations of the percentile.
_PERIOD = 0.1
#: The least total weight of answers for a percentile.
_ENOUGH = 20.0


class LatencyHistogram:
    """Counts answers in buckets of exponentially growing latency. Old answers lose weight.

    Args:
        percentile: The percentile to compute, in (0, 100].
        clock: Monotonic seconds.
    """

    def __init__(self, percentile: float, clock: Clock) -> None:
        self._share, self._clock = percentile / 100, clock
        self._weights = [0.0] * _BUCKETS
        self._total = 0.0
        #: Clock time at which an answer has weight 1. Later answers weigh more, so that the weights of older
        #: ones need no update.
        self._epoch = clock()
        self._due = 0.0
        self._value: float | None = None

    def add(self, latency: float) -> None:
        """Add an answer that took `latency` seconds."""
        now = self._clock()
        if now - self._epoch > 10 * _HALF_LIFE:
            self._fade(now)
        weight = 2.0 ** ((now - self._epoch) / _HALF_LIFE)
        self._weights[_bucket(latency)] += weight
        self._total += weight

    def value(self) -> float | None:
        """Return the percentile in seconds, or None until there are enough answers."""
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
    """Return the index of the first bucket whose upper bound is not below the latency (s)."""
    if latency <= _LEAST:
        return 0
    return min(_BUCKETS - 1, math.ceil(math.log(latency / _LEAST, _GROWTH)))
