"""What outlier detection shows of the endpoints that it has ejected."""

import random
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, cast

import grpc

from grpcmesh.call import Attempt
from grpcmesh.outlier import Outliers
from grpcmesh.service_config import OutlierDetection
from grpcmesh.testing.clock import VirtualClock

AT_ONCE = OutlierDetection(base_ejection_time=30, max_ejection_percent=50, consecutive_failures=3)


@dataclass(frozen=True)
class Place:
    address: str


def fail(layer: Outliers, endpoint: Any, clock: VirtualClock) -> None:
    method = SimpleNamespace(kind=None)
    attempt = SimpleNamespace(
        endpoint=endpoint, call=SimpleNamespace(method=method), started=clock(), ended=clock(), local=False
    )
    attempt.code = grpc.StatusCode.UNAVAILABLE
    layer.on_start(cast(Attempt, attempt))
    layer.on_end(cast(Attempt, attempt))


def ejected(layer: Outliers) -> dict[str, float]:
    return {
        sample.labels["endpoint"]: sample.value
        for family in layer.metrics("product")
        for sample in family.samples
        if sample.name == "mesh_outlier_endpoint_ejected"
    }


def test_an_ejected_endpoint_is_named_and_others_have_no_series() -> None:
    clock = VirtualClock()
    layer = Outliers("product", AT_ONCE, clock, random.Random(1))
    endpoints = [Place(f"10.0.0.{i}:50051") for i in range(4)]
    layer.replace(endpoints, endpoints)
    assert ejected(layer) == {}
    for _ in range(3):
        fail(layer, endpoints[2], clock)
    assert ejected(layer) == {"10.0.0.2:50051": 1}
    layer.configure(AT_ONCE)  # ejected endpoints return with new settings
    assert ejected(layer) == {}
