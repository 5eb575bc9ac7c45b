"""docs/methods.md says what the protos, the policy and the mesh's defaults say."""

import importlib.machinery
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
from ecommerce import payment_pb2

from grpcmesh.authz.policy import Policy

TOOL = Path(__file__).parents[2] / "tools" / "methods-table"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    loader = importlib.machinery.SourceFileLoader("methods_table", str(TOOL))
    spec = importlib.util.spec_from_loader("methods_table", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_the_table_of_methods_is_current(tool: ModuleType) -> None:
    assert tool.TARGET.read_text(encoding="utf-8") == tool.page(), "run tools/methods-table"


def test_every_method_of_the_contract_may_be_called_by_somebody(tool: ModuleType) -> None:
    assert "nobody" not in tool.page()


def test_a_row_says_who_may_and_what_is_tried_again(tool: ModuleType) -> None:
    service = payment_pb2.DESCRIPTOR.services_by_name["PaymentService"]
    policy = Policy.parse(
        """
        [[allow]]
        from = ["order", "client"]
        methods = ["ecommerce.PaymentService/*"]
        [users]
        "ecommerce.PaymentService/StreamPayments" = ["admin"]
        "ecommerce.PaymentService/VoidPayment" = "anyone"
        """
    )
    rows = {method.name: tool.row(method, policy) for method in service.methods}
    assert rows["ProcessPayment"] == (
        "| `ProcessPayment` | unary | client, order | a user | by key | 5 s | unsent | critical |"
    )
    assert rows["VoidPayment"] == (
        "| `VoidPayment` | unary | client, order | anyone | yes | 5 s | UNAVAILABLE | critical |"
    )
    assert rows["StreamPayments"] == (
        "| `StreamPayments` | server stream | client, order | admin | reads | 3600 s | UNAVAILABLE |"
        " sheddable |"
    )
    assert rows["BidirectionalPaymentStream"].endswith(" by key | 3600 s | unsent |  |")
