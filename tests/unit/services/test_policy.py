"""The shop's authorization policy."""

from pathlib import Path

from grpcmesh.authz.policy import Policy
from grpcmesh.call import Kind, Method, Workload

POLICY = Policy.parse((Path(__file__).parents[3] / "services" / "policy.toml").read_text())
DOMAIN = ("cluster.local", "meshmart")


def _method(full_name: str) -> Method:
    return Method.parse(f"/{full_name}", Kind.UNARY)


def _allows(caller: str, full_name: str) -> bool:
    return POLICY.allows(Workload(*DOMAIN, caller), _method(full_name), *DOMAIN)


def test_the_policy_of_the_shop_is_readable() -> None:
    assert _allows("order", "ecommerce.ProductService/ReserveStock")
    assert not _allows("client", "ecommerce.ProductService/ReserveStock")
    assert POLICY.user_rule(_method("ecommerce.ProductService/GetProduct")).optional
    assert POLICY.user_rule(_method("ecommerce.ProductService/CreateProduct")).roles == {"admin"}


def test_only_the_operator_may_break_a_replica_of_the_shop_and_needs_no_user() -> None:
    crash = "mesh.fault.v1.FaultService/Crash"
    callers = {c for names in POLICY.workloads.values() for c in names}
    assert {c for c in callers if _allows(c, crash)} == {"client"}
    assert POLICY.user_rule(_method(crash)).optional


def test_what_a_service_does_for_another_nobody_else_may() -> None:
    callers = {c for names in POLICY.workloads.values() for c in names}
    internal = {
        "ecommerce.ProductService/ReserveStock": {"order"},
        "ecommerce.ProductService/ReleaseStock": {"order"},
        "ecommerce.ProductService/ShipStock": {"order"},
        "ecommerce.PaymentService/VoidPayment": {"order"},
        "ecommerce.OrderService/RecordRefund": {"payment"},
    }
    for method, allowed in internal.items():
        assert {caller for caller in callers if _allows(caller, method)} == allowed, method
