"""The data model of the gRPC service config, with the mesh's additions. Frozen; durations are in seconds.

Field names follow the gRFCs (A6 retries and hedging, A48, A50, A58, A68, A76) in snake case. Additions of the
mesh are marked as such. All other settings mean the same as for any gRPC client.
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
    """Names the methods of a `MethodConfig`: one method, those of a service, or, if both are empty, all."""

    service: str = ""
    method: str = ""

    def __str__(self) -> str:
        return f"{self.service}/{self.method}" if self.method else self.service or "every method"


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Says when a failed attempt is retried (gRFC A6)."""

    max_attempts: int
    """Attempts of one call, the first included; 2 to 5."""
    initial_backoff: float
    """Upper bound of the first wait, in seconds."""
    max_backoff: float
    """Upper bound of any wait, in seconds."""
    backoff_multiplier: float
    """Factor by which the upper bound grows from one wait to the next."""
    retryable_status_codes: frozenset[grpc.StatusCode]
    """Codes with which a failed attempt is retried."""
    per_attempt_recv_timeout: float | None = None
    """Seconds that one attempt may take before it is retried. None: as long as the call."""


@dataclass(frozen=True, slots=True)
class HedgingPolicy:
    """Says when a call without an answer is sent to another endpoint as well (gRFC A6)."""

    max_attempts: int
    """Attempts of one call, the first included; 2 to 5."""
    hedging_delay: float = 0.0
    """Seconds without an answer until the next attempt."""
    hedging_delay_percentile: float | None = None
    """Addition of the mesh: the delay is this percentile of the method's recent latency, but at least
    `hedging_delay`."""
    non_fatal_status_codes: frozenset[grpc.StatusCode] = frozenset()
    """Codes after which the next attempt is made at once. Any other code ends the call."""


@dataclass(frozen=True, slots=True)
class RetryThrottling:
    """Stops retries and hedges while too many calls fail (gRFC A6)."""

    max_tokens: int
    """Size of the token bucket, 1 to 1000. Retries stop while it is not more than half full."""
    token_ratio: float
    """Tokens that a success returns. A failure takes one token."""


@dataclass(frozen=True, slots=True)
class MethodConfig:
    """The settings of the methods that it names."""

    names: tuple[MethodName, ...]
    wait_for_ready: bool | None = None
    """Whether calls wait for an endpoint by default. None: they do not."""
    timeout: float | None = None
    """Seconds that a call may take at most. A shorter timeout of the caller takes precedence."""
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
    """Percentage of failures above which an endpoint is ejected."""
    enforcement_percentage: int = 100
    minimum_hosts: int = 5
    request_volume: int = 50
    """Attempts in one interval that an endpoint needs to be judged."""


@dataclass(frozen=True, slots=True)
class OutlierDetection:
    """Says when an endpoint that fails leaves rotation, and when it returns (gRFC A50)."""

    interval: float = 10.0
    """Seconds between two sweeps of the success rate and failure percentage algorithms."""
    base_ejection_time: float = 30.0
    """Seconds that the first ejection lasts. Each further one lasts that much longer."""
    max_ejection_time: float = 300.0
    """Seconds of the longest ejection."""
    max_ejection_percent: int = 10
    """Percentage of the endpoints that may be ejected at the same time. One may always be, but never the last
    one in rotation."""
    success_rate_ejection: SuccessRateEjection | None = None
    failure_percentage_ejection: FailurePercentageEjection | None = None
    consecutive_failures: int = 0
    """Addition of the mesh, after Envoy's consecutive_5xx: failures in a row that eject at once. 0: never."""
    stall_time: float = 0.0
    """Addition of the mesh: seconds without answers until an endpoint with calls is ejected. 0: never."""


@dataclass(frozen=True, slots=True)
class LoadBalancing:
    """Says how the endpoint of a call is picked."""

    policy: PolicyName = "round_robin"
    parameters: Mapping[str, float | int | bool | str] = field(default_factory=dict)
    """Parameters of the policy, by the snake-case names of its gRFC."""
    subset_size: int | None = None
    """How many endpoints this client uses (gRFC A68). None: all."""
    outlier_detection: OutlierDetection | None = None
    """Parameters of outlier detection. None: no endpoint is ejected."""


@dataclass(frozen=True, slots=True)
class CircuitBreaker:
    """Addition of the mesh: limits on the calls of one target (gRFC A32 has the first of them)."""

    max_concurrent_requests: int = 1024
    """The most attempts under way. One more fails with UNAVAILABLE."""
    max_pending_requests: int = 1024
    """The most calls that wait for an endpoint. One more fails with UNAVAILABLE."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """Says whose health is watched at each endpoint (gRFC A17)."""

    service_name: str | None = None
    """Full name of the service. None: health is not watched."""


@dataclass(frozen=True, slots=True)
class ServiceConfig:
    """All settings of one target. For those that are None, the mesh's defaults apply."""

    method_configs: tuple[MethodConfig, ...] = ()
    load_balancing: LoadBalancing | None = None
    retry_throttling: RetryThrottling | None = None
    health_check: HealthCheck | None = None
    circuit_breaker: CircuitBreaker | None = None

    def method(self, service: str, method: str) -> MethodConfig | None:
        """Return the most specific settings: of the method, else of its service, else of every method."""
        by_name = {name: config for config in self.method_configs for name in config.names}
        for name in (MethodName(service, method), MethodName(service), MethodName()):
            if name in by_name:
                return by_name[name]
        return None
