"""Limits the retries of a target: without a limit, retries turn a partial outage into a full one.

After linkerd2-proxy and Finagle: in any ten seconds, retries are at most a share of the calls, or a fixed
number per second, whichever is more. Counts are kept in a ring with a slot for each second.
"""

from grpcmesh.config import RetryConfig
from grpcmesh.retry.throttle import Throttle

_SLOTS = 10


class RetryBudget:
    """Counts calls and retries of the last ten seconds, and decides whether another retry is allowed.

    Args:
        config: The share of calls, and the number per second, that may be retries.
    """

    def __init__(self, config: RetryConfig) -> None:
        self._ratio, self._floor = config.budget_ratio, config.budget_floor * _SLOTS
        self._calls, self._retries = [0] * _SLOTS, [0] * _SLOTS
        self._second = 0
        #: gRFC A6's throttling; None unless the settings ask for it.
        self.throttle: Throttle | None = None
        #: Numbers of retries and hedges: allowed, and denied by the budget or the throttling.
        self.retries = self.exhausted = 0
        #: Number of hedges among the allowed ones, and of those denied by gRFC A6's throttling.
        self.hedges = self.throttled = 0
        #: Number of attempts that a server answered with pushback (gRFC A6).
        self.pushbacks = 0

    def called(self, now: float) -> None:
        """Count a logical call that is made at `now` (monotonic seconds)."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        self._calls[second % _SLOTS] += 1

    def take(self, now: float) -> bool:
        """Take one retry or hedge, and count it. Return False if the budget or the throttling denies it."""
        throttled = self.throttle is not None and not self.throttle.open
        self.throttled += throttled
        if throttled or not self.spend(now):
            self.exhausted += 1
            return False
        self.retries += 1
        return True

    def spend(self, now: float) -> bool:
        """Take one retry out of the budget. Return False if none is left."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        if self._spent >= self.allowed:
            return False
        self._retries[second % _SLOTS] += 1
        return True

    def spent(self, now: float) -> int:
        """Return the number of retries in the ten seconds before `now` (monotonic seconds)."""
        if int(now) != self._second:
            self._turn(int(now))
        return self._spent

    @property
    def _spent(self) -> int:
        return sum(self._retries)

    @property
    def allowed(self) -> float:
        """Return the number of retries that are allowed in the last ten seconds."""
        return max(self._ratio * sum(self._calls), self._floor)

    def _turn(self, second: int) -> None:
        for stale in range(max(self._second + 1, second - _SLOTS + 1), second + 1):
            self._calls[stale % _SLOTS] = self._retries[stale % _SLOTS] = 0
        self._second = second

    def __repr__(self) -> str:
        return f"<RetryBudget {self._spent} of {self.allowed:.0f} in {_SLOTS} s>"
