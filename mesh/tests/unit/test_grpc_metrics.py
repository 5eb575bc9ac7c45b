"""The numbers behind gRPC's own metrics. tests/integration/test_grpc_metrics.py exports them."""

import grpc

from grpcmesh.call import ClientCall, Kind, Method, Purpose, ServerCall
from grpcmesh.telemetry.grpc_metrics import LATENCY, SIZE, Distribution, GrpcMetrics
from grpcmesh.telemetry.metrics import MAX_METHODS

GET = Method.parse("/ecommerce.ProductService/GetProduct", Kind.UNARY)


def served(metrics: GrpcMetrics, method: Method, seconds: float = 0.0) -> None:
    call = ServerCall(method, None, 0.0, {}, Purpose.APPLICATION)  # type: ignore[arg-type]
    metrics.server.on_start(call)
    call.ended = seconds
    metrics.server.on_end(call)


def test_the_buckets_are_those_of_a66() -> None:
    assert (len(LATENCY), LATENCY[:3], LATENCY[-1]) == (41, (0, 0.00001, 0.00005), 100)
    assert (0, *(1024 * 2**n for n in (0, 1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22))) == SIZE
    assert list(LATENCY) == sorted(set(LATENCY))


def test_a_value_at_a_bound_belongs_to_its_bucket() -> None:
    distribution = Distribution((0, 1, 2))
    for value in (0, 1, 1.5, 2, 3):
        distribution.add(value)
    assert distribution.buckets == [1, 1, 2, 1]
    assert (distribution.total, distribution.smallest, distribution.largest) == (7.5, 0, 3)


def test_a_copy_does_not_change_any_more() -> None:
    distribution = Distribution((1,))
    distribution.add(1)
    copy = distribution.copy()
    distribution.add(5)
    assert (copy.buckets, copy.total, copy.largest) == ([1, 0], 1, 1)


def test_methods_are_bounded_on_a_server_whatever_callers_send() -> None:
    metrics = GrpcMetrics()
    metrics.serves([GET])
    served(metrics, GET)
    for n in range(3 * MAX_METHODS):
        served(metrics, Method.parse(f"/a.B/Invented{n}", Kind.UNARY))
    started = next(family for family in metrics.read() if family.name == "grpc.server.call.started")
    assert {labels["grpc.method"]: value for labels, value in started.points} == {
        "ecommerce.ProductService/GetProduct": 1,
        "other": 3 * MAX_METHODS,
    }


def test_methods_are_bounded_on_a_client_that_makes_stubs_without_end() -> None:
    metrics = GrpcMetrics()
    calls, _ = metrics.client("dns:///product")
    for n in range(2 * MAX_METHODS):
        method = Method.parse(f"/a.B/Generated{n}", Kind.UNARY)
        metrics.calls(method)
        calls.on_end(ClientCall(method, "product", 0.0, code=grpc.StatusCode.OK))
    [durations] = [family for family in metrics.read() if family.name == "grpc.client.call.duration"]
    assert len(durations.points) == MAX_METHODS + 1


def test_channels_to_one_target_share_their_series() -> None:
    metrics = GrpcMetrics()
    assert metrics.client("dns:///product") is metrics.client("dns:///product")
    assert metrics.client("dns:///product") is not metrics.client("dns:///order")
