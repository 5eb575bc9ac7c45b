"""The data model of the gRPC service config, and what the mesh adds to it. Frozen; durations are seconds.

Field names follow the gRFCs (A6 retries and hedging, A48, A50, A58, A68, A76) in snake case. What the mesh
adds is marked as such; everything else means what it means to any gRPC client.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import grpc

PolicyName = Literal[
    "round_robin", "least_request", "peak_ewma", "random", "weighted_round_robin", "ring_hash"
]


@dataclass(frozen=True, slots=True)
class MethodName:
    """Which methods a `MethodConfig` is for: one method, a service, or, with both empty, all of them."""

    service: str = ""
    method: str = ""

    def __str__(self) -> str:
        return f"{self.service}/{self.method}" if self.method else self.service or "every method"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a failed attempt is followed by another (gRFC A6)."""

    max_attempts: int
    """Attempts of one call, the first included; 2 to 5."""
    initial_backoff: float
    """Upper bound of the first wait."""
    max_backoff: float
    """Upper bound of any wait."""
    backoff_multiplier: float
    """By which the upper bound grows from one wait to the next."""
    retryable_status_codes: frozenset[grpc.StatusCode]
    """Codes that are tried again."""
    per_attempt_recv_timeout: float | None = None
    """How long one attempt may take before the next one takes its place; None: as long as the call."""


@dataclass(frozen=True, slots=True)
class HedgingPolicy:
    """When a call that has no answer yet is sent to another endpoint as well (gRFC A6)."""

    max_attempts: int
    """Attempts of one call, the first included; 2 to 5."""
    hedging_delay: float = 0.0
    """Seconds without an answer until the next attempt."""
    hedging_delay_percentile: float | None = None
    """Of the mesh: waits for this percentile of the method's recent latency, `hedging_delay` at least."""
    non_fatal_status_codes: frozenset[grpc.StatusCode] = frozenset()
    """Codes after which the next attempt is made at once; any other ends the call."""


@dataclass(frozen=True, slots=True)
class RetryThrottling:
    """No retries and hedges while too many calls fail (gRFC A6)."""

    max_tokens: int
    """1 to 1000; retries stop at half of them."""
    token_ratio: float
    """What a success gives back; a failure takes one."""


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """Settings of the methods that it names."""

    names: tuple[MethodName, ...]
    wait_for_ready: bool | None = None
    """Whether calls wait for an endpoint; None: as the call says."""
    timeout: float | None = None
    """Longest that a call may take; a shorter one that the caller names holds."""
    max_request_message_bytes: int | None = None
    max_response_message_bytes: int | None = None
    retry_policy: RetryPolicy | None = None
    hedging_policy: HedgingPolicy | None = None


@dataclass(frozen=True, slots=True)
class SuccessRateEjection:
    """Ejects endpoints whose success rate is far below the mean (gRFC A50)."""

    stdev_factor: int = 1900
    """Thousandths of a standard deviation below the mean."""
    enforcement_percentage: int = 100
    minimum_hosts: int = 5
    request_volume: int = 100
    """Attempts in one interval that an endpoint needs to be judged."""


@dataclass(frozen=True, slots=True)
class FailurePercentageEjection:
    """Ejects endpoints whose share of failures is above a threshold (gRFC A50)."""

    threshold: int = 85
    """Percent."""
    enforcement_percentage: int = 100
    minimum_hosts: int = 5
    request_volume: int = 50
    """Attempts in one interval that an endpoint needs to be judged."""


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """When an endpoint that answers badly leaves rotation, and when it returns (gRFC A50)."""

    interval: float = 10.0
    """Seconds between two sweeps of the success rate and failure percentage algorithms."""
    base_ejection_time: float = 30.0
    """How long the first ejection lasts; each further one lasts that much longer."""
    max_ejection_time: float = 300.0
    """The longest ejection."""
    max_ejection_percent: int = 10
    """Share of the endpoints that may be ejected at a time; one always may, the last one never."""
    success_rate_ejection: SuccessRateEjection | None = None
    failure_percentage_ejection: FailurePercentageEjection | None = None
    consecutive_failures: int = 0
    """Of the mesh, after Envoy's consecutive_5xx: failures in a row that eject at once; 0: never."""
    stall_time: float = 0.0
    """Of the mesh: an endpoint that has calls and answers none for so long is ejected; 0: never."""


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """How a call picks its endpoint."""

    policy: PolicyName = "round_robin"
    parameters: Mapping[str, float | int | bool | str] = field(default_factory=dict)
    """Of the policy, under the snake-case names of its gRFC."""
    subset_size: int | None = None
    """How many endpoints this client uses (gRFC A68); None: all."""
    outlier_detection: OutlierDetection | None = None
    """None: nothing is ejected."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Of the mesh: limits on the calls of one target (gRFC A32 has the first)."""

    max_concurrent_requests: int = 1024
    """Attempts under way; one more fails with UNAVAILABLE."""
    max_pending_requests: int = 1024
    """Calls that wait for an endpoint; one more fails with UNAVAILABLE."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Which service the health of an endpoint is watched for (gRFC A17)."""

    service_name: str | None = None
    """Its full name; None: health is not watched."""


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """All settings of one target. What is None is not set, and the mesh's own settings hold."""

    method_configs: tuple[MethodConfig, ...] = ()
    load_balancing: LoadBalancing | None = None
    retry_throttling: RetryThrottling | None = None
    health_check: HealthCheck | None = None
    circuit_breaker: CircuitBreaker | None = None

    def method(self, service: str, method: str) -> MethodConfig | None:
        """Return the most specific settings: those of the method, of its service, or of every method."""
        by_name = {name: config for config in self.method_configs for name in config.names}
        for name in (MethodName(service, method), MethodName(service), MethodName()):
            if name in by_name:
                return by_name[name]
        return None
