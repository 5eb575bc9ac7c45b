"""Makes a policy from its name and parameters."""

from collections.abc import Callable
from typing import Any

from grpcmesh.balancer.ewma import PeakEwma
from grpcmesh.balancer.policy import LeastRequest, Policy, Random, RoundRobin, SlowStart
from grpcmesh.balancer.ring_hash import RingHash
from grpcmesh.balancer.weighted import WeightedRoundRobin
from grpcmesh.clock import Clock, Rng
from grpcmesh.config import BalancerConfig
from grpcmesh.service_config import LoadBalancing, PolicyName


def make_policy(
    balancing: LoadBalancing, config: BalancerConfig, slow: SlowStart, clock: Clock, rng: Rng
) -> Policy:
    """Return a new policy.

    Args:
        balancing: Its name and parameters. Absent parameters have the defaults of their gRFC.
        config: The process's own defaults.
    """
    given: dict[str, Any] = dict(balancing.parameters)
    make: dict[PolicyName, Callable[[], Policy]] = {
        "round_robin": lambda: RoundRobin(slow, clock, rng),
        "random": lambda: Random(slow, clock, rng),
        "least_request": lambda: LeastRequest(slow, clock, rng, given.get("choice_count", 2)),
        "peak_ewma": lambda: PeakEwma(slow, clock, rng, given.get("decay_time", config.ewma_decay)),
        "weighted_round_robin": lambda: WeightedRoundRobin(slow, clock, rng, **_weighting(given)),
        "ring_hash": lambda: RingHash(
            slow,
            clock,
            rng,
            given.get("request_hash_header", ""),
            **{k: v for k, v in given.items() if k != "request_hash_header"},
        ),
    }
    return make[balancing.policy]()


def _weighting(given: dict[str, Any]) -> dict[str, float]:
    """Return the parameters of gRFC A58 that the policy uses. The others concern the reports' transport."""
    names = {
        "blackout_period": "blackout",
        "weight_expiration_period": "expiry",
        "weight_update_period": "period",
        "error_utilization_penalty": "error_penalty",
    }
    return {name: given[key] for key, name in names.items() if key in given}
