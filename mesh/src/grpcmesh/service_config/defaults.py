"""What holds for every target that nobody has set anything for."""

from grpcmesh.service_config.model import CircuitBreaker, FailurePercentageEjection, OutlierDetection

#: A replica that fails five times in a row, fails every other call, or answers nothing for half a second
#: leaves rotation for ten seconds at first. Half of the replicas may be out at a time.
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
