import pytest

from grpcmesh.call import Kind, Method, Workload, current_principal, current_workload, is_mesh_service


def test_a_wire_path_is_split_into_service_and_method() -> None:
    method = Method.parse("/ecommerce.ProductService/GetProduct", Kind.UNARY)
    assert (method.service, method.name) == ("ecommerce.ProductService", "GetProduct")
    assert method.full_name == "ecommerce.ProductService/GetProduct"
    assert Method.parse(b"/ecommerce.ProductService/GetProduct", Kind.UNARY) is method


@pytest.mark.parametrize(
    ("kind", "request_streaming", "response_streaming"),
    [
        (Kind.UNARY, False, False),
        (Kind.SERVER_STREAM, False, True),
        (Kind.CLIENT_STREAM, True, False),
        (Kind.BIDI_STREAM, True, True),
    ],
)
def test_a_kind_knows_which_ways_it_streams(
    kind: Kind, request_streaming: bool, response_streaming: bool
) -> None:
    assert (kind.request_streaming, kind.response_streaming) == (request_streaming, response_streaming)


def test_a_workload_reads_its_own_uri() -> None:
    workload = Workload("cluster.local", "default", "order")
    assert Workload.parse(str(workload)) == workload


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "https://cluster.local/ns/default/sa/order",
        "spiffe://cluster.local/ns/default/sa/",
        "spiffe:///ns/default/sa/order",
        "spiffe://cluster.local/ns//sa/order",
        "spiffe://cluster.local/ns/default/sa/order/more",
        "spiffe://cluster.local/default/order",
        "spiffe:/cluster.local/ns/default/sa/order",
    ],
)
def test_anything_else_is_no_workload(uri: str) -> None:
    assert Workload.parse(uri) is None


def test_the_meshs_own_services_are_exempt_and_nothing_else() -> None:
    for service in ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"):
        assert is_mesh_service(Method.parse(f"/{service}/X", Kind.UNARY))
    for service in ("grpc.health.v1.Healthy", "grpc.health.v1", "ecommerce.ProductService"):
        assert not is_mesh_service(Method.parse(f"/{service}/X", Kind.UNARY))


def test_outside_a_call_nobody_calls() -> None:
    assert current_principal() is None
    assert current_workload() is None
