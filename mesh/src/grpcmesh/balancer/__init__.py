"""Chooses the endpoint of each call, by pure policies over the ready endpoints. See mesh/docs/balancer.md."""

from grpcmesh.balancer.attempts import EndpointCounts, Latency, LoadReports
from grpcmesh.balancer.balancer import Balancer, Verdict
from grpcmesh.balancer.endpoint import Endpoint, State
from grpcmesh.balancer.orca import LOAD_KEY, LoadReport
from grpcmesh.balancer.reporter import LoadReporter
from grpcmesh.balancer.subsetting import Subset

__all__ = [
    "LOAD_KEY",
    "Balancer",
    "Endpoint",
    "EndpointCounts",
    "Latency",
    "LoadReport",
    "LoadReporter",
    "LoadReports",
    "State",
    "Subset",
    "Verdict",
]
