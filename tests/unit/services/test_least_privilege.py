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


def differences(where: str, workload: str, said: frozenset[str], made: frozenset[str]) -> list[str]:
    """Return a line for each call that is only said, or only made by the code."""
    missing = [
        f"{where}: {name} is missing, and services/{workload} calls it" for name in sorted(made - said)
    ]
    return missing + [
        f"{where}: {name} is listed, and services/{workload} does not call it" for name in sorted(said - made)
    ]


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_manifest_lists_what_the_code_calls_and_nothing_else(workload: str) -> None:
    where = f"services/{workload}/service.toml: calls"
    found = differences(where, workload, listed(workload), calls(workload))
    assert not found, "\n".join(found)


@pytest.mark.parametrize("workload", WORKLOADS)
def test_a_service_may_call_what_its_code_calls_and_nothing_else(workload: str) -> None:
    where = f'services/policy.toml, which `make manifests` writes: from = ["{workload}"]'
    found = differences(where, workload, allowed(workload), calls(workload))
    assert not found, "\n".join(found)


def test_a_difference_names_the_manifest_the_method_and_the_code() -> None:
    said, made = (
        frozenset({"ecommerce.A/Listed", "ecommerce.A/Both"}),
        frozenset({"ecommerce.A/Both", "ecommerce.A/Made"}),
    )
    assert differences("services/b/service.toml: calls", "b", said, made) == [
        "services/b/service.toml: calls: ecommerce.A/Made is missing, and services/b calls it",
        "services/b/service.toml: calls: ecommerce.A/Listed is listed, and services/b does not call it",
    ]


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
