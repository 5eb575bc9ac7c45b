"""Weighted round robin by the servers' own load reports (gRFC A58), with a static stride scheduler.

The weight is calls per second divided by utilization. An endpoint gets the mean weight of the others if it
sends no reports, began to send them less than `BLACKOUT` seconds ago, or sent its last one more than `EXPIRY`
seconds ago. The scheduler is gRPC's
(src/core/load_balancing/weighted_round_robin/static_stride_scheduler.cc): the share of its turns that an
endpoint takes is its weight divided by the largest weight.
"""

from collections.abc import Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.orca import LoadReport
from grpcmesh.balancer.policy import Policy, SlowStart, Turns
from grpcmesh.call import ClientCall
from grpcmesh.clock import Clock, Rng

#: Seconds for which an endpoint has to report before its reports are used, and for which its last one counts.
BLACKOUT = 10.0
EXPIRY = 180.0
#: Seconds between two computations of the weights: usually, and while endpoints warm up.
PERIOD = 1.0
_WARM_PERIOD = 0.1
#: The largest weight after scaling, and the bounds of a weight as multiples of the mean. The bounds limit how
#: many turns a pick passes over.
_MAX = 0xFFFF
_LEAST, _MOST = 0.1, 10.0


class StaticStride:
    """Picks indices in proportion to weights, in O(1): with a sequence number instead of a queue.

    Args:
        weights: Positive weights, relative to each other.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        mean = sum(weights) / len(weights)
        bounded = [min(max(w, mean * _LEAST), mean * _MOST) for w in weights]
        scale = _MAX / max(bounded)
        self._weights = [max(1, round(w * scale)) for w in bounded]

    def pick(self, turn: int) -> tuple[int, int]:
        """Return the index whose turn it is, and the number of the next turn."""
        count = len(self._weights)
        while True:
            generation, index = divmod(turn, count)
            turn += 1
            weight = self._weights[index]
            # An offset per endpoint spreads out the turns that are passed over.
            if (weight * generation + index * (_MAX // 2)) % _MAX >= _MAX - weight:
                return index, turn


class WeightedRoundRobin(Policy):
    """Picks endpoints in turn, in proportion to the weights from their load reports.

    Args:
        blackout: Seconds for which an endpoint has to report before its reports are used.
        expiry: Seconds for which the last report is used.
        period: Seconds between two computations of the weights; at least 0.1.
        error_penalty: Factor of the failure rate that is added to the utilization (gRFC A58).
    """

    wants_reports = True

    def __init__(
        self,
        slow_start: SlowStart,
        clock: Clock,
        rng: Rng,
        *,
        blackout: float = BLACKOUT,
        expiry: float = EXPIRY,
        period: float = PERIOD,
        error_penalty: float = 1.0,
    ) -> None:
        super().__init__(slow_start, clock, rng)
        self._blackout, self._expiry = blackout, expiry
        # gRFC A58: a shorter period counts as 100 ms.
        self._period, self._error_penalty = max(_WARM_PERIOD, period), error_penalty
        self._stride = StaticStride([1.0])
        self._turns = Turns(rng)
        self._due = 0.0

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        super().update(endpoints)
        self._due = float("-inf")

    def reported(self, endpoint: Endpoint, report: LoadReport) -> None:
        now = self.clock()
        if endpoint.load is None or now - endpoint.load_at >= self._expiry:
            endpoint.load_since = now
        endpoint.load, endpoint.load_at = report, now

    def pick(self, avoid: Endpoint | None = None, call: ClientCall | None = None) -> Endpoint:
        if self.clock() >= self._due:
            self._weigh()
        index, turn = self._stride.pick(self._turns.of(call))
        if self.endpoints[index] is avoid and len(self.endpoints) > 1:
            for _ in range(2 * len(self.endpoints)):
                index, turn = self._stride.pick(turn)
                if self.endpoints[index] is not avoid:
                    break
        self._turns.follow(call, turn)
        return self.endpoints[index]

    def _weigh(self) -> None:
        now = self.clock()
        weights = [self._weight(e, now) for e in self.endpoints]
        known = [w for w in weights if w > 0]
        # With fewer than two weights there is nothing to compare: plain round robin.
        mean = sum(known) / len(known) if len(known) > 1 else 1.0
        weights = [(w if w > 0 and len(known) > 1 else mean) for w in weights]
        warming = self.slow_start.active
        if warming:
            weights = [w * self.slow_start.weight(e) for w, e in zip(weights, self.endpoints, strict=True)]
        self._stride = StaticStride(weights)
        self._due = now + (_WARM_PERIOD if warming else self._period)

    def _weight(self, endpoint: Endpoint, now: float) -> float:
        if endpoint.load is None or now - endpoint.load_at >= self._expiry:
            return 0.0
        return (
            endpoint.load.weight(self._error_penalty) if now - endpoint.load_since >= self._blackout else 0.0
        )
