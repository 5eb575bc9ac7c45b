"""Layers of the attempt stack that report the outcome of attempts to the balancer."""

from collections.abc import Iterable

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.balancer.balancer import Balancer
from grpcmesh.balancer.orca import LOAD_KEY, LoadReport
from grpcmesh.call import Attempt, AttemptLayer, Method

_OK = grpc.StatusCode.OK


class EndpointCounts(AttemptLayer):
    """Counts the attempts in flight at each endpoint, and how they ended."""

    def on_start(self, attempt: Attempt) -> None:
        attempt.endpoint.in_flight += 1

    def on_end(self, attempt: Attempt) -> None:
        endpoint = attempt.endpoint
        endpoint.in_flight -= 1
        if attempt.code is _OK:
            endpoint.successes += 1
        else:
            endpoint.failed(attempt.code.name)


class LoadReports(AttemptLayer):
    """Passes the load reports in trailing metadata to the policy.

    Reports that cannot be read are ignored, and so are all from an endpoint that reports out of band
    (gRFC A58).
    """

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def applies(self, method: Method) -> bool:
        return self._balancer.policy.wants_reports

    def on_end(self, attempt: Attempt) -> None:
        if attempt.endpoint.out_of_band:
            return
        for key, value in attempt.trailing_metadata():
            if key == LOAD_KEY and isinstance(value, bytes):
                if report := LoadReport.decode(value):
                    self._balancer.reported(attempt.endpoint, report)
                return  # one report to an answer

    def metrics(self, target: str) -> Iterable[Metric]:
        told = "Load reports of servers that were taken, by how they came."
        reports = CounterMetricFamily("mesh_load_reports", told, labels=["target", "source"])
        for source, count in self._balancer.reports.items():
            reports.add_metric([target, source], count)
        yield reports
        used = "Utilization that the endpoint last reported."
        utilization = GaugeMetricFamily("mesh_endpoint_utilization", used, labels=["target", "endpoint"])
        for endpoint in self._balancer.endpoints.values():
            if endpoint.load is not None:
                utilization.add_metric([target, endpoint.address], endpoint.load.utilization)
        yield utilization


class Latency(AttemptLayer):
    """Tells the policy how long each attempt took, in seconds."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def applies(self, method: Method) -> bool:
        return self._balancer.policy.wants_latency

    def on_end(self, attempt: Attempt) -> None:
        self._balancer.policy.ended(attempt.endpoint, attempt.ended - attempt.started, attempt.code is _OK)
