"""A limit on how often something may happen. Pure."""

import math

from grpcmesh.clock import Clock, monotonic


class RateLimit:
    """A token bucket that holds the tokens of one second.

    Args:
        rate: Tokens per second; 0 allows nothing, infinity everything.
        clock: Monotonic seconds.
    """

    def __init__(self, rate: float, clock: Clock = monotonic) -> None:
        self._rate, self._clock = rate, clock
        self._burst = max(1.0, rate) if rate else 0.0
        self._tokens, self._at = self._burst, clock()
        self.allowed = self.refused = 0

    def take(self) -> bool:
        """Take a token. Return False if there is none."""
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
