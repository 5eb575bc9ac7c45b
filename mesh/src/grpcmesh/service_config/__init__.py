"""Settings per target and per method, in the data model and JSON of the gRPC service config.

https://github.com/grpc/grpc/blob/master/doc/service_config.md. May be imported by `grpcmesh`, `meshmart`,
`services`. Start reading in `model`. See mesh/docs/service-config.md.
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
