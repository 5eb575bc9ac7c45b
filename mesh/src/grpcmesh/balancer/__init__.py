"""Chooses the endpoint of each call, by pure policies over the ready endpoints.

May be imported by `grpcmesh.client`, `grpcmesh.server`, `grpcmesh.mesh`. Start reading in `balancer`.
See mesh/docs/balancer.md.
"""

from grpcmesh.balancer.attempts import EndpointCounts, Latency, LoadReports
from grpcmesh.balancer.balancer import Balancer, Verdict
from grpcmesh.balancer.endpoint import Endpoint, State
from grpcmesh.balancer.orca import LOAD_KEY, LoadReport
from grpcmesh.balancer.own import PolicyFactory
from grpcmesh.balancer.policy import Policy as BalancerPolicy
from grpcmesh.balancer.reporter import LoadReporter
from grpcmesh.balancer.subsetting import Subset

__all__ = [
    "LOAD_KEY",
    "Balancer",
    "BalancerPolicy",
    "Endpoint",
    "EndpointCounts",
    "Latency",
    "LoadReport",
    "LoadReporter",
    "LoadReports",
    "PolicyFactory",
    "State",
    "Subset",
    "Verdict",
]
