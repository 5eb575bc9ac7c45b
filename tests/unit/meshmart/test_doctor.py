"""What `meshmart check` makes of what the workloads print."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from grpcmesh.authz.policy import Policy
from grpcmesh.commands.doctor.findings import Finding
from local.errors import ClusterError
from meshmart.doctor import calls as shop_calls
from meshmart.doctor.calls import Calls, calls
from meshmart.doctor.examination import Examination, Output, Request, Survey, Workload
from meshmart.doctor.findings import Outcome, Report, UnreadableError, merge, parse
from meshmart.errors import CommandError
from meshmart.kubernetes import conditions
from tests.unit.meshmart.api_objects import deployment, pod

DENIED = Finding("policy_denies", "policy", "x was denied y", "allow it")
CLOSED = Finding("port_closed", "user", "10.0.0.1:1 refuses connections", "start it")


def printed(*findings: Finding, skipped: Sequence[str] = ()) -> str:
    fields = [
        {name: getattr(f, name) for name in ("cause", "subject", "problem", "remedy")} for f in findings
    ]
    return json.dumps({"findings": fields, "not_checked": list(skipped)})


def test_what_several_workloads_see_is_one_finding() -> None:
    outcomes = [Outcome(f"product/{n}", [CLOSED], ["metrics"]) for n in range(5)]
    report = merge([], outcomes)
    (seen,) = report.findings
    assert str(seen).endswith("[port_closed] (seen from product/0, product/1, product/2 and 2 more)")
    assert seen.as_dict()["seen_from"] == [f"product/{n}" for n in range(5)]
    assert report.not_checked == ("metrics (seen from product/0, product/1, product/2 and 2 more)",)


def test_strangers_that_a_policy_denied_are_told_apart_from_what_is_wrong() -> None:
    report = merge([], [Outcome("product/1", [DENIED, CLOSED])])
    assert [seen.finding for seen in report.findings] == [CLOSED]
    assert [seen.finding for seen in report.denials] == [DENIED]


def test_output_of_a_pod_is_printable_and_bounded() -> None:
    hostile = Finding("port_closed\x1b[2J", "user\n", "x" * 100_000, "\x07")
    (found,) = parse("a", printed(hostile)).findings
    assert str(found).isprintable()
    assert len(str(found)) < 5000


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", "null", "1", '{"findings": 1, "not_checked": []}', "[" * 100_000,
             '{"findings": [1], "not_checked": []}', '{"findings": [{}], "not_checked": []}'],
)  # fmt: skip
def test_output_that_is_something_else(text: str) -> None:
    with pytest.raises(UnreadableError, match="is not that of the check"):
        parse("a", text)


def test_the_calls_of_a_workload_are_those_that_the_policy_allows_it() -> None:
    policy = Policy.parse(
        """
        [[allow]]
        from = ["order", "storefront"]
        methods = ["e.ProductService/Get", "e.UserService/*", "other.Service/Call"]
        [[allow]]
        from = ["order"]
        methods = ["e.PaymentService/Pay"]
        """
    )
    targets = {"e.ProductService": "product", "e.UserService": "user", "e.PaymentService": "payment"}
    found = calls(policy, targets)
    assert found["storefront"] == Calls(("product", "user"), ("product=e.ProductService/Get",))
    assert found["order"].targets == ("payment", "product", "user")
    assert found["order"].methods == ("payment=e.PaymentService/Pay", "product=e.ProductService/Get")


def test_the_shop_calls_what_its_policy_says() -> None:
    found = shop_calls.of_the_shop()
    assert found["product"] == Calls(("user",), ("user=ecommerce.UserService/GetVerificationKeys",))
    assert "payment=ecommerce.PaymentService/ProcessPayment" in found["order"].methods
    assert "outsider" not in found


class Scripted:
    """A shop whose workloads print what a test says, one text after the other."""

    def __init__(self, **texts: list[str | ClusterError]) -> None:
        self.texts = texts
        self.arguments: list[list[str]] = []

    async def survey(self) -> Survey:
        return Survey([Workload(name, "product", 1, serves=name != "web") for name in self.texts])

    async def run(self, workload: Workload, arguments: Sequence[str]) -> Output:
        self.arguments.append(list(arguments))
        text = self.texts[workload.name].pop(0)
        if isinstance(text, ClusterError):
            raise text
        return Output(0, text, "")


async def examined(shop: Scripted, **request: Any) -> Report:
    known = {"product": Calls(("user",), ("user=e.User/Get",))}
    return await Examination(shop, known, Request(**request)).report()


async def test_a_workload_is_asked_for_its_calls_and_a_client_for_no_server() -> None:
    shop = Scripted(a=[printed()], web=[printed()])
    await examined(shop, timeout=7.0)
    common = ["-m", "grpcmesh", "check", "--json", "--timeout", "7"]
    assert shop.arguments[0] == [*common, "--method", "user=e.User/Get", "--", "user"]
    assert shop.arguments[1] == [*common, "--client", "--method", "user=e.User/Get", "--", "user"]


async def test_pinned_clients_count_only_if_they_are_seen_by_one_that_looks_alone() -> None:
    """Examinations that run side by side see each other connect."""
    pinned = [Finding("pinned_clients", "user", f"{name} is connected to one only", "x") for name in "xy"]
    shop = Scripted(a=[printed(*pinned, CLOSED), printed(pinned[1])], b=[printed()])
    report = await examined(shop)
    assert [seen.finding for seen in report.findings] == [pinned[1], CLOSED]
    assert len(shop.arguments) == 3


async def test_a_workload_that_cannot_be_reached_does_not_hide_the_others() -> None:
    report = await examined(Scripted(a=[ClusterError("gone")], b=[printed(CLOSED)]))
    assert [(s.finding.cause, s.finding.problem) for s in report.findings] == [
        ("not_examined", "gone"),
        ("port_closed", CLOSED.problem),
    ]


async def test_a_service_that_nobody_has_is_an_error() -> None:
    with pytest.raises(CommandError, match="no replica of order can be looked at; there are product"):
        await examined(Scripted(a=[]), services=["product", "order"])


def state(name: str = "product", **status: Any) -> dict[str, Any]:
    return {"name": name, "ready": False, "restartCount": 0, **status}


def waiting(reason: str, message: str = "") -> dict[str, Any]:
    return {"state": {"waiting": {"reason": reason, "message": message}}}


@pytest.mark.parametrize(
    ("changes", "told", "runs"),
    [
        ({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes: memory"}]},
         "it is not scheduled: 0/3 nodes: memory", False),
        ({"containerStatuses": [state(**waiting("ImagePullBackOff", "no such image"))]},
         "container product waits: ImagePullBackOff: no such image", False),
        ({"initContainerStatuses": [state("init", **waiting("CrashLoopBackOff"))],
          "containerStatuses": [state(**waiting("PodInitializing"))]},
         "container init waits: CrashLoopBackOff", False),
        ({"containerStatuses": [state(**waiting("ContainerCreating"))]}, "it is Pending", False),
        ({"phase": "Running", "containerStatuses": [
            state(state={"running": {}}, lastState={"terminated": {"exitCode": 9, "reason": "OOM"}})]},
         "it runs, but its readiness probe does not succeed; its last process ended with status 9 (OOM)",
         True),
        ({"phase": "Running", "containerStatuses": [state(state={"terminated": {"exitCode": 1}})]},
         "it is Running", False),
        ({"phase": "", "containerStatuses": None}, "it is in no phase", False),
    ],
)  # fmt: skip
def test_why_a_pod_gets_no_calls(changes: dict[str, Any], told: str, runs: bool) -> None:
    bad = pod("product-a", ready=False, phase="Pending")
    bad["status"] |= changes
    (found,) = conditions.not_ready([bad, pod("product-b")])
    assert (found.subject, found.cause) == ("product-a", "replica_not_ready")
    assert found.problem == f"{told}; it gets no calls"
    assert conditions.runs(bad) is runs


def test_pods_that_kubernetes_does_not_make() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: pods"}
    short = deployment("product", wanted=3, conditions=[failure])
    (found,) = conditions.missing([short, deployment("order", wanted=0)], [pod("product-a")])
    assert (found.subject, found.problem) == ("product", "1 of 3 pods exist: exceeded quota: pods")


def test_a_pod_that_is_ready_is_looked_at_and_a_sidecar_of_somebody_else_is_not() -> None:
    injected = pod("product-a")
    injected["spec"]["containers"].insert(0, {"name": "logger"})
    assert conditions.runs(injected)
    assert list(conditions.not_ready([injected])) == []
