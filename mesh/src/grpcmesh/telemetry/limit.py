"""A limit on how often something may happen. Pure."""

import math

from grpcmesh.clock import Clock, monotonic


class RateLimit:
    """A token bucket: so many a second, and as many at once after a quiet second.

    Args:
        rate: Tokens a second; 0 allows nothing, infinity everything.
        clock: Monotonic seconds.
    """

    def __init__(self, rate: float, clock: Clock = monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._burst = max(1.0, rate) if rate else 0.0
        self._tokens, self._at = self._burst, clock()
        self.allowed = self.refused = 0

    def take(self) -> bool:
        """Take a token; False where there is none."""
        now = self._clock()
        if self._rate < math.inf:
            self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
        if self._tokens < 1.0:
            self.refused += 1
            return False
        self._tokens -= 1.0
        self.allowed += 1
        return True
