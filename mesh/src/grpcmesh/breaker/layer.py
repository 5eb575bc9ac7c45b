"""Limits the attempts under way and the calls that wait for an endpoint (gRFC A32).

A call above a limit fails at once with UNAVAILABLE and is not retried. gRFC A32 calls this a drop.
"""

from collections.abc import Iterable

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.call import Attempt, AttemptLayer
from grpcmesh.errors import Unavailable
from grpcmesh.service_config import CircuitBreaker


class Breaker(AttemptLayer):
    """Counts the attempts of one target, and refuses those above the limit.

    Args:
        target: Short name of the target, for messages.
        config: The limits. The attribute may be replaced while calls run.
    """

    def __init__(self, target: str, config: CircuitBreaker) -> None:
        self._target, self.config = target, config
        #: Attempts under way.
        self.in_flight = 0
        #: Calls that were refused, by limit.
        self.refused = {"concurrent": 0, "pending": 0}

    def on_start(self, attempt: Attempt) -> None:
        """Count the attempt. Raises Unavailable if the limit is reached."""
        limit = self.config.max_concurrent_requests
        if self.in_flight >= limit:
            raise self._refusal("concurrent", f"{limit} calls are under way")
        self.in_flight += 1

    def on_end(self, attempt: Attempt) -> None:
        self.in_flight -= 1

    def refuse_waiting(self, waiting: int) -> Unavailable | None:
        """Return the error for a call that may not wait for an endpoint; None if it may.

        Args:
            waiting: Number of calls that wait already.
        """
        limit = self.config.max_pending_requests
        if waiting < limit:
            return None
        return self._refusal("pending", f"{limit} calls wait for an endpoint")

    def _refusal(self, limit: str, why: str) -> Unavailable:
        self.refused[limit] += 1
        return Unavailable(f"the circuit breaker of {self._target} is open: {why}")

    def metrics(self, target: str) -> Iterable[Metric]:
        told = "Calls that the circuit breaker refused, by limit."
        refused = CounterMetricFamily("mesh_breaker_refused", told, labels=["target", "limit"])
        for limit, count in self.refused.items():
            refused.add_metric([target, limit], count)
        yield refused
        told = "What the circuit breaker allows, by limit."
        limits = GaugeMetricFamily("mesh_breaker_limit", told, labels=["target", "limit"])
        limits.add_metric([target, "concurrent"], self.config.max_concurrent_requests)
        limits.add_metric([target, "pending"], self.config.max_pending_requests)
        yield limits
        told = "Attempts under way, as the circuit breaker counts them."
        in_flight = GaugeMetricFamily("mesh_breaker_in_flight", told, labels=["target"])
        in_flight.add_metric([target], self.in_flight)
        yield in_flight
