"""The codes that calls end with: the processes' own numbers, and a bounded number of codes."""

import json
from typing import Any

import pytest

from grpcmesh.telemetry.metrics import CODE_NAMES
from meshmart.console import codes, frame
from meshmart.console.codes import Code
from meshmart.console.series import Parser
from tests.unit.meshmart.console.pages import Mesh, Process, replica


def shop() -> Mesh:
    mesh = Mesh(product=[replica(1), replica(2)], order=[replica(1, 2)])
    for name in ("product-1", "product-2"):
        mesh.process(name).serves("ProductService", 0)
    mesh.process("order-1").knows("product", "127.0.1.1:50051", "127.0.1.2:50051")
    mesh.look()
    return mesh


def told(mesh: Mesh) -> dict[str, Any]:
    """The next frame, five seconds later."""
    return json.loads(frame.encode(mesh.look(), [], {}))


def test_a_service_and_each_replica_tell_the_codes_of_their_calls() -> None:
    mesh = shop()
    mesh.process("product-1").serves("ProductService", 30)
    mesh.process("product-1").serves("ProductService", 5, code="NotFound")
    mesh.process("product-2").serves("ProductService", 10, code="NotFound")
    mesh.process("product-2").serves("ProductService", 5, code="Internal")
    product = mesh.look().services[0]
    assert product.traffic.codes == (Code("OK", 6, 30), Code("NotFound", 3, 15), Code("Internal", 1, 5))
    assert product.traffic.failures == 5
    assert [r.traffic.codes for r in product.replicas] == [
        (Code("OK", 6, 30), Code("NotFound", 1, 5)),
        (Code("NotFound", 2, 10), Code("Internal", 1, 5)),
    ]


def test_an_edge_tells_the_codes_that_the_caller_counts() -> None:
    mesh = shop()
    mesh.process("order-1").calls("product", "ProductService", 40)
    mesh.process("order-1").calls("product", "ProductService", 10, code="Unavailable")
    (edge,) = mesh.look().edges
    assert edge.traffic.codes == (Code("OK", 8, 40), Code("Unavailable", 2, 10))


def test_a_frame_has_all_codes_but_ok_which_is_what_is_missing_of_the_calls() -> None:
    mesh = shop()
    mesh.process("product-1").serves("ProductService", 20)
    mesh.process("product-1").serves("ProductService", 5, code="NotFound")
    of = told(mesh)["services"][0]
    assert of["codes"] == [["NotFound", 1.0, 5]]
    assert of["calls"] - sum(calls for _, _, calls in of["codes"]) == 20
    assert "codes" not in of["replicas"][1]


def test_a_code_that_no_longer_occurs_keeps_its_number() -> None:
    mesh = shop()
    mesh.process("product-1").serves("ProductService", 5, code="Internal")
    for _ in range(4):
        mesh.look()
    assert mesh.look().services[0].traffic.codes == (Code("Internal", 0, 5),)


@pytest.mark.parametrize(
    ("status", "name", "failed"),
    [
        ("200", "OK", False),
        ("303", "OK", False),
        ("404", "404", False),
        ("503", "503", True),
        ("0", "0", True),
        ("x", "other", False),
        ("4044", "other", False),
        ("", "other", False),
    ],
)
def test_pages_have_the_statuses_from_400_on(status: str, name: str, failed: bool) -> None:
    page = f'http_server_request_duration_seconds_count{{http_response_status_code="{status}"}} 1'
    assert Parser().parse(page).values == {("served", name): 1.0}
    assert codes.failed(name) == failed


def test_the_codes_are_those_of_grpc() -> None:
    assert set(CODE_NAMES.values()) == codes.CODES


def test_codes_that_a_replica_makes_up_are_one() -> None:
    process = Process()
    for number in range(300):
        process.serves("ProductService", code=f"Made{number}")
        process.calls("user", "UserService", code=f"Made{number}")
    values = Parser().parse(process.page()).values
    assert values["served", "other"] == values["called", "ecommerce.UserService", "other"] == 300


def test_the_number_of_codes_is_bounded_and_no_call_is_lost() -> None:
    calls = {str(400 + n): float(100 - n) for n in range(99)} | {"other": 7.0, "OK": 0.0}
    ended = codes.of({"400": 2.0, "498": 1.0}, calls)
    assert len(ended) == codes.MOST
    assert ended[0] == Code("400", 2.0, 100.0)
    assert (ended[-1].name, ended[-1].rate) == ("other", 1.0)
    assert sum(code.calls for code in ended) == sum(calls.values())
