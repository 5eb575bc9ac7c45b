"""Nobody may do what nobody does: manifests and policy against the calls that the services' code makes."""

from pathlib import Path

import pytest

from grpcmesh.authz.policy import Policy
from grpcmesh.call import Kind, Method, Workload
from services.manifest import shop
from tests.unit.services import stubs
from tools.manifests import proto

SERVICES = Path(__file__).parents[3] / "services"
POLICY = Policy.parse((SERVICES / "policy.toml").read_text())
DOMAIN = ("cluster.local", "meshmart")
#: Methods by service, such as `ecommerce.UserService`.
METHODS = proto.methods()
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


def calls(workload: str) -> frozenset[str]:
    """The methods that a workload's code calls."""
    return frozenset(f"ecommerce.{service}/{method}" for service, method in stubs.calls(workload))


def listed(workload: str) -> frozenset[str]:
    """The methods that its manifest lists."""
    manifests = shop()
    called = manifests[workload].calls.items()
    return frozenset(f"{manifests[target].service}/{name}" for target, names in called for name in names)


def allowed(workload: str) -> frozenset[str]:
    caller = Workload(*DOMAIN, workload)
    names = (f"{service}/{method}" for service, methods in METHODS.items() for method in methods)
    return frozenset(
        name for name in names if POLICY.allows(caller, Method.parse(f"/{name}", Kind.UNARY), *DOMAIN)
    )


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_manifest_lists_what_the_code_calls_and_nothing_else(workload: str) -> None:
    assert listed(workload) == calls(workload)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_service_may_call_what_its_code_calls_and_nothing_else(workload: str) -> None:
    assert allowed(workload) == calls(workload)


def test_every_service_has_a_manifest() -> None:
    assert sorted(shop()) == WORKLOADS


def test_the_code_was_read() -> None:
    assert "ecommerce.OrderService/CreateOrder" in calls("storefront")
    assert "ecommerce.PaymentService/VoidPayment" in calls("order")
    assert not any("Payment" in name or "Chat" in name for name in calls("storefront"))


def test_nobody_is_named_that_is_no_workload() -> None:
    named = {caller for callers in POLICY.workloads.values() for caller in callers}
    assert named <= {*WORKLOADS, "client", "console"}


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
