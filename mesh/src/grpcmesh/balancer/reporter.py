"""What this server tells its callers of its load, for their `weighted_round_robin` (gRFC A51, per call)."""

import time

import grpc

from grpcmesh.balancer.orca import LOAD_KEY, LoadReport
from grpcmesh.call import ServerCall, ServerLayer
from grpcmesh.clock import Clock, monotonic


class LoadReporter(ServerLayer):
    """Counts calls; a report is made once an interval, and each call in between carries the same bytes.

    Args:
        clock: Monotonic seconds.
        cpu: Seconds of CPU that the process has used.
        interval: Seconds from one report to the next; 0 makes one for each call.
    """

    observes = True

    def __init__(
        self, clock: Clock = monotonic, cpu: Clock = time.process_time, interval: float = 0.0
    ) -> None:
        self._clock, self._cpu, self._interval = clock, cpu, interval
        self._told: tuple[tuple[str, bytes], ...] = ()
        self._calls = self._errors = 0
        self._since, self._used = clock(), cpu()

    def on_start(self, call: ServerCall) -> None:
        if call.started - self._since >= self._interval:
            self._told = (self.metadata(),)
        call.trailing = (*call.trailing, *self._told)

    def on_end(self, call: ServerCall) -> None:
        self._calls += 1
        self._errors += call.code is not grpc.StatusCode.OK

    def report(self) -> LoadReport:
        """The load since the last report."""
        now, used = self._clock(), self._cpu()
        elapsed = max(now - self._since, 1e-9)
        report = LoadReport(
            cpu_utilization=(used - self._used) / elapsed,
            qps=self._calls / elapsed,
            eps=self._errors / elapsed,
        )
        self._calls = self._errors = 0
        self._since, self._used = now, used
        return report

    def metadata(self) -> tuple[str, bytes]:
        """The next report, as trailing metadata."""
        return LOAD_KEY, self.report().encode()
