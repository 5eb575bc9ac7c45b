"""Settings per target and per method, in the data model and JSON of the gRPC service config.

https://github.com/grpc/grpc/blob/master/doc/service_config.md. Any part of the library may import it. Read
`model` first. See mesh/docs/service-config.md.
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
    PolicyName,
    RetryPolicy,
    RetryThrottling,
    ServiceConfig,
    SuccessRateEjection,
)
from grpcmesh.service_config.parse import parse
from grpcmesh.service_config.sources import Effective
from grpcmesh.service_config.store import ServiceConfigStore

__all__ = [
    "CircuitBreaker",
    "Effective",
    "FailurePercentageEjection",
    "HealthCheck",
    "HedgingPolicy",
    "LoadBalancing",
    "MethodConfig",
    "MethodName",
    "OutlierDetection",
    "PolicyName",
    "RetryPolicy",
    "RetryThrottling",
    "ServiceConfig",
    "ServiceConfigStore",
    "SuccessRateEjection",
    "parse",
]
