"""Peak EWMA: of two endpoints drawn at random, picks the one that should answer first.

After Finagle (https://github.com/twitter/finagle/blob/develop/finagle-core/src/main/scala/com/twitter/finagle/loadbalancer/PeakEwma.scala):
an average of latency that jumps up to a slow answer at once and forgets it with time, so that it
steers away from an endpoint that gets slow before an ordinary average would notice.
"""

import math
from collections.abc import Sequence

from grpcmesh.balancer.endpoint import Endpoint
from grpcmesh.balancer.policy import LEARN, SlowStart, TwoChoices
from grpcmesh.clock import Clock, Rng

#: The latency assumed for an endpoint before any endpoint has answered (s).
_UNKNOWN = 0.001


class PeakEwma(TwoChoices):
    """Picks by cost: latency × (calls in flight + 1).

    A failed attempt counts as at least as slow as a typical answer.

    Args:
        decay: Time constant of the average (s).
    """

    def __init__(self, slow_start: SlowStart, clock: Clock, rng: Rng, decay: float) -> None:
        super().__init__(slow_start, clock, rng)
        self._decay = max(decay, 1e-9)
        #: Average, over good answers, of the answering endpoint's peak EWMA (s); 0 before the first answer.
        self._peak = 0.0

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the endpoints. A new one starts with the average latency, so that it gets a usual share."""
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
        """Return the decayed latency. It falls without answers, so that a slow endpoint is tried again."""
        age = self.clock() - endpoint.latency_at
        return (endpoint.latency or 0.0) * math.exp(-age / self._decay)
