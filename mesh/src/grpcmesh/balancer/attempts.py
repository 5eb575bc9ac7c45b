"""Layers of the attempt stack that tell the balancer how its picks turn out."""

import grpc

from grpcmesh.balancer.balancer import Balancer
from grpcmesh.balancer.orca import LOAD_KEY, LoadReport
from grpcmesh.call import Attempt, AttemptLayer, Method

_OK = grpc.StatusCode.OK


class EndpointCounts(AttemptLayer):
    """Counts what is in flight at each endpoint, and how it ended."""

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
    """Passes the load reports in trailing metadata on to the policy. One that cannot be read is ignored."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def applies(self, method: Method) -> bool:
        return self._balancer.policy.wants_reports

    def on_end(self, attempt: Attempt) -> None:
        for key, value in attempt.trailing_metadata():
            if key == LOAD_KEY and isinstance(value, bytes):
                if report := LoadReport.decode(value):
                    self._balancer.policy.reported(attempt.endpoint, report)
                return  # one report to an answer


class Latency(AttemptLayer):
    """Tells the policy how long each attempt took, in seconds."""

    def __init__(self, balancer: Balancer) -> None:
        self._balancer = balancer

    def applies(self, method: Method) -> bool:
        return self._balancer.policy.wants_latency

    def on_end(self, attempt: Attempt) -> None:
        self._balancer.policy.ended(attempt.endpoint, attempt.ended - attempt.started, attempt.code is _OK)
