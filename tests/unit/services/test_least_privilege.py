"""Nobody may what nobody does: the policy against the calls that the services' code makes."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from ecommerce import (
    analytics_pb2,
    chat_pb2,
    notification_pb2,
    order_pb2,
    payment_pb2,
    product_pb2,
    user_pb2,
)

from grpcmesh.authz.policy import Policy
from grpcmesh.call import Kind, Method, Workload

SERVICES = Path(__file__).parents[3] / "services"
POLICY = Policy.parse((SERVICES / "policy.toml").read_text())
DOMAIN = ("cluster.local", "meshmart")
_FILES = (analytics_pb2, chat_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2, user_pb2)
#: Methods by service, such as `ecommerce.UserService`.
METHODS: dict[str, frozenset[str]] = {
    service.full_name: frozenset(method.name for method in service.methods)
    for file in _FILES
    for service in file.DESCRIPTOR.services_by_name.values()
}
WORKLOADS = sorted(p.parent.name for p in SERVICES.glob("*/main.py"))
#: What the operator's workload must not do: it is some service's own business.
INTERNAL = frozenset(
    f"ecommerce.{name}"
    for name in (
        "ProductService/ReserveStock",
        "ProductService/ReleaseStock",
        "ProductService/ShipStock",
        "PaymentService/VoidPayment",
        "OrderService/RecordRefund",
        "OrderService/EraseUser",
        "ChatService/EraseUser",
        "NotificationService/EraseUser",
        "NotificationService/SendMail",
    )
)


@cache
def _trees(package: str) -> tuple[ast.Module, ...]:
    return tuple(ast.parse(path.read_text()) for path in (SERVICES / package).rglob("*.py"))


def _names(package: str) -> Iterator[str]:
    """Every name and attribute that a package's code uses."""
    for tree in _trees(package):
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute):
                yield node.attr
            elif isinstance(node, ast.Name):
                yield node.id


def calls(workload: str) -> frozenset[str]:
    """The methods that a workload's code calls: of each stub that it makes, those that it names."""
    used = frozenset(_names(workload))
    stubs = {name.removesuffix("Stub") for name in used if name.endswith("ServiceStub")}
    found = {f"ecommerce.{stub}/{method}" for stub in stubs for method in METHODS[f"ecommerce.{stub}"] & used}
    if "UserKeys" in used:  # services.kit.tokens
        found.add("ecommerce.UserService/GetVerificationKeys")
    return frozenset(found)


def allowed(workload: str) -> frozenset[str]:
    caller = Workload(*DOMAIN, workload)
    names = (f"{service}/{method}" for service, methods in METHODS.items() for method in methods)
    return frozenset(
        name for name in names if POLICY.allows(caller, Method.parse(f"/{name}", Kind.UNARY), *DOMAIN)
    )


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_service_may_call_what_its_code_calls_and_nothing_else(workload: str) -> None:
    assert allowed(workload) == calls(workload)


def test_the_code_was_read() -> None:
    assert "ecommerce.OrderService/CreateOrder" in calls("storefront")
    assert "ecommerce.PaymentService/VoidPayment" in calls("order")
    assert not any("Payment" in name or "Chat" in name for name in calls("storefront"))


def test_nobody_is_named_that_is_no_workload() -> None:
    named = {caller for callers in POLICY.workloads.values() for caller in callers}
    assert named <= {*WORKLOADS, "client"}


def test_the_operator_may_do_everything_but_what_is_the_services_own_business() -> None:
    everything = {f"{service}/{method}" for service, methods in METHODS.items() for method in methods}
    keys = "ecommerce.UserService/GetVerificationKeys"
    assert everything - allowed("client") <= INTERNAL | {keys}
    assert not allowed("client") & INTERNAL


def test_every_method_that_the_policy_names_is_there() -> None:
    for name in (*POLICY.workloads, *POLICY.users):
        service, _, method = name.partition("/")
        if service.startswith("ecommerce."):
            assert method == "*" or method in METHODS[service], name
