"""A pick costs the same at 3, 30 and 300 endpoints, whatever the policy."""

import random
import time
from typing import get_args

import pytest

from grpcmesh.balancer import Balancer, Endpoint, LoadReport, State
from grpcmesh.call import ClientCall, Kind, Method
from grpcmesh.config import BalancerConfig
from grpcmesh.outlier import Outliers
from grpcmesh.service_config import LoadBalancing, OutlierDetection, PolicyName
from grpcmesh.testing.clock import VirtualClock

COUNTS = (3, 30, 300)
#: Picks of a round, and rounds. The least of the rounds counts: other processes only ever add to it.
PICKS, ROUNDS = 500, 40
#: By how much a pick at one number of endpoints may cost more than at another (measured: 1.02 to 1.13). A
#: pick that looks at each endpoint would cost ten times as much with each step.
BOUND = 1.5

CALL = ClientCall(Method.parse("/mesh.testing.PingService/Ping", Kind.UNARY), "ping", 0.0)


def balancer(policy: PolicyName, count: int) -> Balancer:
    """Return a balancer as a channel makes it, with outlier detection. All endpoints are past slow start."""
    clock = VirtualClock()
    outliers = Outliers("ping", OutlierDetection(), clock, random.Random(7))
    balancing = LoadBalancing(policy)
    made = Balancer(BalancerConfig(), "ping", clock, random.Random(7), outliers, balancing)
    outliers.on_change = made.rotate
    endpoints = [Endpoint(f"10.0.{i // 250}.{i % 250}:1") for i in range(count)]
    made.replace(endpoints)
    for endpoint in endpoints:
        made.set_state(endpoint, State.READY)
        made.reported(endpoint, LoadReport(cpu_utilization=0.5, qps=100.0))
    clock.advance(60.0)
    assert len(made.rotation) == count
    return made


def cost(made: Balancer) -> float:
    """Return the CPU seconds of a pick and of the end of its call."""
    pick, ended = made.pick, made.policy.ended
    before = time.thread_time()
    for _ in range(PICKS):
        endpoint = pick(None, CALL, True)
        ended(endpoint, 0.001, True)  # type: ignore[arg-type]
    return (time.thread_time() - before) / PICKS


@pytest.mark.parametrize("policy", get_args(PolicyName))
def test_a_pick_costs_the_same_at_any_number_of_endpoints(policy: PolicyName) -> None:
    balancers = {count: balancer(policy, count) for count in COUNTS}
    costs = {count: float("inf") for count in COUNTS}
    for _ in range(ROUNDS):
        for count, made in balancers.items():
            costs[count] = min(costs[count], cost(made))
    told = ", ".join(f"{count}: {seconds * 1e6:.2f} µs" for count, seconds in costs.items())
    print(f"{policy}: {told}")
    assert max(costs.values()) <= BOUND * min(costs.values()), told
