"""Token buckets for a bounded number of peers."""

from collections.abc import Hashable

from grpcmesh.clock import Clock, monotonic

#: The most peers with a bucket. Beyond it, the bucket that was unused for longest is dropped.
MOST_PEERS = 4096


class PeerRates:
    """Limits how often each peer may do something.

    Args:
        rate: Tokens per second that a peer gets.
        burst: Tokens that a peer has at first, and at most.
        clock: Monotonic seconds.
    """

    def __init__(self, rate: float, burst: float, clock: Clock = monotonic) -> None:
        self._rate, self._burst, self._clock = rate, burst, clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def take(self, peer: Hashable, tokens: float = 1.0) -> bool:
        """Take tokens of a peer. If it has too few, take none and return False."""
        now = self._clock()
        level = self._level(peer, now)
        allowed = level >= tokens
        self._buckets.pop(peer, None)
        if len(self._buckets) >= MOST_PEERS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[peer] = (level - tokens if allowed else level, now)
        return allowed

    def wait(self, peer: Hashable, tokens: float) -> float:
        """Take tokens of a peer, even if it has too few. Return the seconds until its debt is paid."""
        now = self._clock()
        level = self._level(peer, now) - tokens
        self._buckets.pop(peer, None)
        if len(self._buckets) >= MOST_PEERS:
            del self._buckets[next(iter(self._buckets))]
        self._buckets[peer] = (level, now)
        return max(0.0, -level / self._rate)

    def _level(self, peer: Hashable, now: float) -> float:
        level, since = self._buckets.get(peer, (self._burst, now))
        return min(self._burst, level + (now - since) * self._rate)
