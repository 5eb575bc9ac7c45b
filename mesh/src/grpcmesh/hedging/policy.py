"""Decides whether and when a call gets another attempt beside those that run. Pure."""

import grpc

from grpcmesh.clock import Clock
from grpcmesh.hedging.latency import LatencyHistogram
from grpcmesh.service_config import HedgingPolicy


class Hedging:
    """Decides on hedges of one method's calls.

    Args:
        config: Hedging settings of the method, which is declared free of side effects.
        clock: Monotonic seconds.
    """

    def __init__(self, config: HedgingPolicy, clock: Clock) -> None:
        self._config = config
        self._latency: LatencyHistogram | None = None
        if config.hedging_delay_percentile is not None:
            self._latency = LatencyHistogram(config.hedging_delay_percentile, clock)

    def answered(self, latency: float) -> None:
        """Note that an attempt succeeded after `latency` seconds."""
        if self._latency is not None:
            self._latency.add(latency)

    def after_start(self, attempts: int) -> float | None:
        """Return the seconds without an answer after which another attempt starts, or None for no more.

        Args:
            attempts: Number of attempts so far, including the one that starts now.
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
        """Return the seconds until another attempt after one that failed, or None for no more hedges.

        A fatal code ends the call at once (`fatal`), whatever this returns.

        Args:
            code: Status code of the attempt that failed.
            attempts: Number of attempts so far.
            pushback: Seconds that the server asked to wait; negative not to retry; None if it sent none.
            forgiven: Whether the code does not count as fatal, because no server has seen the attempt, or it
                ran into its own timeout.
        """
        if self.exhausted(attempts) or (self.fatal(code) and not forgiven):
            return None
        if pushback is None:
            return 0.0
        return None if pushback < 0 else pushback

    def exhausted(self, attempts: int) -> bool:
        """Return whether a call with this number of attempts gets no more."""
        return attempts >= self._config.max_attempts

    def fatal(self, code: grpc.StatusCode) -> bool:
        """Return whether this code ends the call even while other attempts run."""
        return code not in self._config.non_fatal_status_codes
