"""The decision: another attempt beside those that run, and when? Pure."""

import grpc

from grpcmesh.clock import Clock
from grpcmesh.hedging.latency import LatencyHistogram
from grpcmesh.service_config import HedgingPolicy


class Hedging:
    """Hedges the calls of one method.

    Args:
        config: Of the method, which is declared free of side effects.
        clock: Monotonic seconds.
    """

    def __init__(self, config: HedgingPolicy, clock: Clock) -> None:
        self._config = config
        self._latency: LatencyHistogram | None = None
        if config.hedging_delay_percentile is not None:
            self._latency = LatencyHistogram(config.hedging_delay_percentile, clock)

    def answered(self, latency: float) -> None:
        """An attempt was answered well after so many seconds."""
        if self._latency is not None:
            self._latency.add(latency)

    def after_start(self, attempts: int) -> float | None:
        """Return the seconds after which another attempt follows if none is answered, or None.

        Args:
            attempts: Begun so far, the one that begins now included.
        """
        if self.exhausted(attempts):
            return None
        if self._latency is None:
            return self._config.hedging_delay
        percentile = self._latency.value()
        return None if percentile is None else max(percentile, self._config.hedging_delay)

    def after_failure(
        self, code: grpc.StatusCode, attempts: int, pushback: float | None, forgiven: bool = False
    ) -> float | None:
        """Return the seconds after which another attempt follows one that failed; None: no more hedges.

        A code that is fatal ends the call at once (`fatal`), whatever this says.

        Args:
            code: Of the attempt that failed.
            attempts: Begun so far.
            pushback: What the server asked for, in seconds; negative: not to try again; None: nothing.
            forgiven: Whether the code is not fatal: no server has seen the attempt, or it took too long.
        """
        if self.exhausted(attempts) or (self.fatal(code) and not forgiven):
            return None
        if pushback is None:
            return 0.0
        return None if pushback < 0 else pushback

    def exhausted(self, attempts: int) -> bool:
        """Whether a call that has begun so many attempts gets no more."""
        return attempts >= self._config.max_attempts

    def fatal(self, code: grpc.StatusCode) -> bool:
        """Whether this code ends the call even while other attempts run."""
        return code not in self._config.non_fatal_status_codes
