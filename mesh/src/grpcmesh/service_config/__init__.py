"""Settings per target and per method, in the data model and JSON of the gRPC service config.

https://github.com/grpc/grpc/blob/master/doc/service_config.md. Any part of the library may import it; start
reading in `model`. See mesh/docs/service-config.md.
"""

from grpcmesh.service_config.model import (
    CircuitBreaker,
    FailurePercentageEjection,
    HealthCheck,
    HedgingPolicy,
    LoadBalancing,
    MethodConfig,
    MethodName,
    OutlierDetection,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
    SuccessRateEjection,
)
from grpcmesh.service_config.parse import parse

__all__ = [
    "CircuitBreaker",
    "FailurePercentageEjection",
    "HealthCheck",
    "HedgingPolicy",
    "LoadBalancing",
    "MethodConfig",
    "MethodName",
    "OutlierDetection",
    "RetryPolicy",
    "RetryThrottling",
    "ServiceConfig",
    "SuccessRateEjection",
    "parse",
]
