"""Reports the load of this server to its callers, for their `weighted_round_robin` (gRFC A51).

Reports are sent in the trailing metadata of each answer, and out of band to callers that open the stream.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import grpc
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from grpcmesh.balancer.oob import LoadReportServicer
from grpcmesh.balancer.orca import LOAD_KEY, STANDARD_LOAD_KEY, LoadReport
from grpcmesh.call import Method, Purpose, Registrar, ServerCall, ServerLayer
from grpcmesh.clock import Clock, monotonic
from grpcmesh.watchers import WatcherBudget

#: The most streams of reports that may be open, in all and for one workload.
_STREAMS, _STREAMS_PER_PEER = 4096, 1024


class LoadReporter(ServerLayer):
    """Counts calls, makes a load report once an interval, and sends the latest report with each answer.

    Args:
        clock: Monotonic seconds.
        cpu: Returns the seconds of CPU that the process has used.
        interval: Seconds from one report to the next; 0 makes one for each call.
        budget: Bounds the streams that are open.
    """

    observes = True
    registers: ClassVar[Purpose] = Purpose.MESH

    def __init__(
        self,
        clock: Clock = monotonic,
        cpu: Clock = time.process_time,
        interval: float = 0.0,
        budget: WatcherBudget | None = None,
    ) -> None:
        self._clock, self._cpu, self._interval = clock, cpu, interval
        self._budget = budget or WatcherBudget(_STREAMS, _STREAMS_PER_PEER, "load reports")
        self._calls = self._errors = 0
        self._since, self._used = clock(), cpu()
        self._report = LoadReport()
        #: The current report as trailing metadata: for clients in Python, and for all others.
        self._told: tuple[tuple[str, bytes], ...] = ()

    def on_start(self, call: ServerCall) -> None:
        if call.started - self._since >= self._interval:
            self._renew()
        call.trailing = (*call.trailing, *self._told)

    def on_end(self, call: ServerCall) -> None:
        self._calls += 1
        self._errors += call.code is not grpc.StatusCode.OK

    def register(self, server: Registrar, methods: Callable[[], Iterable[Method]]) -> None:
        LoadReportServicer(self.current, self._budget).add_to(server)

    def current(self) -> LoadReport:
        """Return the report of the last interval. Begins a new interval if the last one is over."""
        if self._clock() - self._since >= self._interval:
            self._renew()
        return self._report

    def metrics(self) -> Iterable[Metric]:
        streams = "Streams on which callers are told the load out of band."
        yield GaugeMetricFamily("mesh_load_report_streams", streams, value=self._budget.count)
        used = "CPU utilization in this server's load reports."
        yield GaugeMetricFamily("mesh_reported_utilization", used, value=self._report.cpu_utilization)
        calls = "Calls per second in this server's load reports."
        yield GaugeMetricFamily("mesh_reported_calls_per_second", calls, value=self._report.qps)

    def state(self) -> Mapping[str, Any]:
        report = self._report
        told = {"utilization": report.cpu_utilization, "calls_per_second": report.qps, "errors": report.eps}
        return {"load_reports": {**told, "streams": self._budget.count}}

    def _renew(self) -> None:
        now, used = self._clock(), self._cpu()
        elapsed = max(now - self._since, 1e-9)
        self._report = LoadReport(
            cpu_utilization=(used - self._used) / elapsed,
            qps=self._calls / elapsed,
            eps=self._errors / elapsed,
        )
        self._calls = self._errors = 0
        self._since, self._used = now, used
        encoded = self._report.encode()
        self._told = ((LOAD_KEY, encoded), (STANDARD_LOAD_KEY, encoded))
