"""The default settings of every target."""

from grpcmesh.service_config.model import CircuitBreaker, FailurePercentageEjection, OutlierDetection

#: A replica leaves rotation, for ten seconds at first, if it fails five times in a row, fails more than half
#: of its calls, or answers nothing for half a second. At most half of the replicas are out at the same time.
OUTLIER_DETECTION = OutlierDetection(
    interval=10.0,
    base_ejection_time=10.0,
    max_ejection_time=300.0,
    max_ejection_percent=50,
    failure_percentage_ejection=FailurePercentageEjection(threshold=50, minimum_hosts=2, request_volume=20),
    consecutive_failures=5,
    stall_time=0.5,
)
CIRCUIT_BREAKER = CircuitBreaker()
