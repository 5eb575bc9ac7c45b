"""How many retries a target may get in all: without a bound, retries turn a brown-out into an outage.

After linkerd2-proxy and Finagle: in any stretch of ten seconds, retries are at most a share of the
calls, or so many a second, whichever is more. Seconds are counted in a ring of slots.
"""

from grpcmesh.config import RetryConfig
from grpcmesh.retry.throttle import Throttle

_SLOTS = 10


class RetryBudget:
    """Counts calls and retries of the last ten seconds."""

    def __init__(self, config: RetryConfig) -> None:
        self._ratio, self._floor = config.budget_ratio, config.budget_floor * _SLOTS
        self._calls, self._retries = [0] * _SLOTS, [0] * _SLOTS
        self._second = 0
        #: gRFC A6's throttling, where the settings ask for it.
        self.throttle: Throttle | None = None
        #: Retries and hedges that were made, and those that only the budget forbade.
        self.retries = self.exhausted = 0
        #: Of those that were made, hedges; of those that were forbidden, by gRFC A6's throttling.
        self.hedges = self.throttled = 0

    def called(self, now: float) -> None:
        """A logical call is made at `now` (monotonic s)."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        self._calls[second % _SLOTS] += 1

    def take(self, now: float) -> bool:
        """Take one retry or hedge, and count it. False where the budget or the throttling forbids it."""
        throttled = self.throttle is not None and not self.throttle.open
        self.throttled += throttled
        if throttled or not self.spend(now):
            self.exhausted += 1
            return False
        self.retries += 1
        return True

    def spend(self, now: float) -> bool:
        """Takes one retry out; False where there is none left."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        if self._spent >= self.allowed:
            return False
        self._retries[second % _SLOTS] += 1
        return True

    def spent(self, now: float) -> int:
        """Retries of the ten seconds before `now`."""
        if int(now) != self._second:
            self._turn(int(now))
        return self._spent

    @property
    def _spent(self) -> int:
        return sum(self._retries)

    @property
    def allowed(self) -> float:
        """Retries that the last ten seconds may hold."""
        return max(self._ratio * sum(self._calls), self._floor)

    def _turn(self, second: int) -> None:
        for stale in range(max(self._second + 1, second - _SLOTS + 1), second + 1):
            self._calls[stale % _SLOTS] = self._retries[stale % _SLOTS] = 0
        self._second = second

    def __repr__(self) -> str:
        return f"<RetryBudget {self._spent} of {self.allowed:.0f} in {_SLOTS} s>"
