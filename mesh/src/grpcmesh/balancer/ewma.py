"""Peak EWMA: the one that should answer first, of two drawn at random.

After Finagle (https://github.com/twitter/finagle/blob/develop/finagle-core/src/main/scala/com/twitter/finagle/loadbalancer/PeakEwma.scala):
an average of latency that jumps up to a slow answer at once and forgets it with time, so that it
steers away from an endpoint that gets slow before an ordinary average would notice.
"""

import math
from collections.abc import Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.policy import LEARN, SlowStart, TwoChoices
from grpcmesh.clock import Clock, Rng

#: What an endpoint is thought to need before any has answered (s).
_UNKNOWN = 0.001


class PeakEwma(TwoChoices):
    """Cost: latency × (calls in flight + 1). A failure is taken for no faster than a typical answer.

    Args:
        decay: Time constant of the average (s).
    """

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng, decay: float) -> None:
        super().__init__(slow_start, clock, rng)
        self._decay = max(decay, 1e-9)
        #: The average of what endpoints that answer look like; 0: none has answered.
        self._peak = 0.0

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """A newcomer is taken for an average one: neither flooded nor shunned before it has answered."""
        known = [e.latency for e in endpoints if e.latency is not None]
        average = sum(known) / len(known) if known else _UNKNOWN
        for endpoint in endpoints:
            if endpoint.latency is None:
                endpoint.latency, endpoint.latency_at = average, self.clock()
        super().update(endpoints)

    def cost(self, endpoint: Endpoint) -> float:
        return max(self._latency(endpoint), 1e-6) * (self.load(endpoint) + 1)

    def ended(self, endpoint: Endpoint, latency: float, ok: bool) -> None:
        super().ended(endpoint, latency, ok)
        if not ok:
            if not self._peak:
                return
            # Taken for no faster than an endpoint that works looks on average, its peaks included.
            latency = max(latency, self._peak)
        average, now = self._latency(endpoint), self.clock()
        if latency < average:
            # `average` is decayed already: what the decay took away, the new answer gives.
            latency = average + latency * (1 - math.exp((endpoint.latency_at - now) / self._decay))
        endpoint.latency, endpoint.latency_at = latency, now
        if ok:
            self._peak += (latency - self._peak) * (LEARN if self._peak else 1.0)

    def _latency(self, endpoint: Endpoint) -> float:
        """The average now; without answers it fades, so that an endpoint that was slow is tried again."""
        age = self.clock() - endpoint.latency_at
        return (endpoint.latency or 0.0) * math.exp(-age / self._decay)
