"""What is read out of the objects of a Kubernetes API, and what is asked of it."""

import datetime

import pytest

from local.errors import ClusterError
from meshmart.kubernetes import objects
from meshmart.kubernetes.api import refusal
from meshmart.kubernetes.renewal import issuing, leaves, renewed
from meshmart.kubernetes.status import status
from tests.unit.meshmart.api_objects import certificate, deployment, pod

NOW = datetime.datetime(2026, 11, 27, 20, 30, tzinfo=datetime.UTC)


def test_a_pod_is_a_replica_at_its_own_address_and_named_ports() -> None:
    replica = objects.replica(pod("product-a", restarts=2), 1, "product.meshmart.svc.cluster.local")
    assert (replica.id, replica.name, replica.address) == (1, "product-a", "10.244.0.7:50051")
    assert replica.metrics == "http://10.244.0.7:9090/metrics"
    assert (replica.ready, replica.restarts, replica.incarnation) == (True, 2, "uid-of-product-a")


def test_an_ipv6_address_stands_in_brackets() -> None:
    replica = objects.replica(pod("product-a", ip="fd00::7"), 1, "")
    assert (replica.address, replica.metrics) == ("[fd00::7]:50051", "http://[fd00::7]:9090/metrics")


def test_a_pod_without_an_address_yet_is_a_replica_that_is_not_ready() -> None:
    replica = objects.replica(pod("product-a", ip="", ready=False, phase="Pending"), 1, "")
    assert (replica.host, replica.ready) == ("", False)


@pytest.mark.parametrize(
    ("change", "ready", "leaving"),
    [
        ({}, True, False),
        ({"ready": False}, False, False),
        ({"deleted": True}, False, True),  # still answers, but no new calls should come
        ({"phase": "Failed", "ready": False}, False, True),  # evicted: its object stays
        ({"phase": "Succeeded", "ready": False}, False, True),
    ],
)
def test_ready_is_what_a_service_would_send_calls_to(
    change: dict[str, bool], ready: bool, leaving: bool
) -> None:
    found = pod("product-a", **change)  # type: ignore[arg-type]
    assert (objects.ready(found), objects.leaving(found)) == (ready, leaving)


def test_pods_are_numbered_from_the_oldest_on_and_keep_their_numbers() -> None:
    numbers = objects.Numbers()
    first = pod("product-x", created="2026-11-27T20:00:00Z")
    second = pod("product-a", created="2026-11-27T20:00:09Z")
    third = pod("product-b", created="2026-11-27T20:01:00Z")
    named = [(n, objects.name(p)) for n, p in numbers.numbered("product", [second, first])]
    assert named == [(1, "product-x"), (2, "product-a")]
    named = [(n, objects.name(p)) for n, p in numbers.numbered("product", [third, second])]
    assert named == [(2, "product-a"), (3, "product-b")]


def test_pods_of_one_second_are_numbered_alike_by_everybody() -> None:
    pods = [pod("product-b"), pod("product-a")]
    for given in (pods, pods[::-1]):
        named = [(n, objects.name(p)) for n, p in objects.Numbers().numbered("product", given)]
        assert named == [(1, "product-a"), (2, "product-b")]


def test_each_service_has_numbers_of_its_own() -> None:
    numbers = objects.Numbers()
    assert [n for n, _ in numbers.numbered("product", [pod("product-a")])] == [1]
    assert [n for n, _ in numbers.numbered("order", [pod("order-a", service="order")])] == [1]


@pytest.mark.parametrize(
    ("change", "done"),
    [
        ({}, True),
        ({"observedGeneration": 3}, False),  # the controller has not seen the new template yet
        ({"updatedReplicas": 2}, False),
        ({"replicas": 4}, False),  # the surge, or an old one that is still there
        ({"availableReplicas": 2}, False),
    ],
)
def test_a_deployment_has_rolled_out_when_every_replica_is_new_and_available(
    change: dict[str, int], done: bool
) -> None:
    assert objects.rolled_out(deployment(**change)) is done


def test_a_new_deployment_has_not_rolled_out() -> None:
    new = deployment()
    del new["status"]
    assert objects.rolled_out(new) is False


def test_none_of_no_replicas_is_missing() -> None:
    idle = deployment(wanted=0)
    idle["status"] = {"observedGeneration": 4}
    assert objects.rolled_out(idle)


def test_a_rollout_that_kubernetes_has_given_up_on_is_an_error() -> None:
    stuck = {
        "type": "Progressing",
        "status": "False",
        "reason": "ProgressDeadlineExceeded",
        "message": 'ReplicaSet "product-7" has timed out progressing.',
    }
    with pytest.raises(
        ClusterError, match=r'product does not roll out: ReplicaSet "product-7" has timed out'
    ):
        objects.rolled_out(deployment(updatedReplicas=1, conditions=[stuck]))


def test_an_autoscaler_is_found_by_what_it_scales() -> None:
    scaler = {
        "metadata": {"name": "shop"},
        "spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "product"}},
    }
    assert objects.autoscaler([scaler], "product") == "shop"
    assert objects.autoscaler([scaler], "order") == ""


def test_an_authority_is_no_workloads_certificate() -> None:
    authority = certificate("meshmart-ca")
    authority["spec"]["isCA"] = True
    assert [objects.name(c) for c in leaves([authority, certificate("product")])] == ["product"]


def test_a_renewal_is_asked_for_as_cmctl_does_and_keeps_the_other_conditions() -> None:
    patch = issuing(certificate(status="False", reason="Failed"), NOW)
    assert patch["metadata"] == {"resourceVersion": "4711"}
    ready, asked = patch["status"]["conditions"]
    assert (ready["type"], ready["status"]) == ("Ready", "True")
    assert (asked["type"], asked["status"], asked["reason"]) == ("Issuing", "True", "ManuallyTriggered")
    assert asked["lastTransitionTime"] == "2026-11-27T20:30:00Z"


@pytest.mark.parametrize(
    ("revision", "condition", "done"),
    [
        (2, {"status": "True", "reason": "ManuallyTriggered"}, False),
        (2, {}, False),  # cert-manager has not begun
        (3, {}, True),
        (3, {"status": "True", "reason": "Renewing"}, False),
        (3, {"status": "False", "reason": "Issued"}, True),
    ],
)
def test_a_certificate_is_renewed_when_its_revision_has_grown(
    revision: int, condition: dict[str, str], done: bool
) -> None:
    assert renewed(certificate("product", revision, **condition), before=2) is done


def test_a_renewal_that_failed_is_an_error_in_cert_managers_words() -> None:
    failed = certificate(status="False", reason="Failed", message="the issuer is gone")
    with pytest.raises(ClusterError, match="did not renew product: the issuer is gone"):
        renewed(failed, before=2)


def test_a_release_tells_its_status_in_the_embedded_clusters_shape() -> None:
    services = [
        {"metadata": {"name": "storefront"}, "spec": {"ports": [{"name": "http", "port": 8080}]}},
        {
            "metadata": {"name": "jaeger"},
            "spec": {"ports": [{"name": "otlp", "port": 4317}, {"name": "http", "port": 16686}]},
        },
    ]
    told = status(
        [deployment("product"), deployment("loadgen", 0)],
        {"product": [(1, pod("product-a"))]},
        services,
        "meshmart.svc.cluster.local",
    )
    assert told == {
        "dns": None,
        "storefront": "http://storefront.meshmart.svc.cluster.local:8080",
        "prometheus": None,
        "traces": "http://jaeger.meshmart.svc.cluster.local:16686",
        "services": {
            "product": {
                "port": 50051,
                "replicas": [
                    {
                        "id": 1,
                        "address": "10.244.0.7",
                        "port": 50051,
                        "pid": None,
                        "pod": "product-a",
                        "ready": True,
                        "draining": False,
                        "restarts": 0,
                        "metrics": "http://10.244.0.7:9090/metrics",
                        "health": "10.244.0.7:50052",
                    }
                ],
            },
            "loadgen": {"port": 50051, "replicas": []},
        },
    }


def test_a_refusal_is_told_in_the_words_of_the_api() -> None:
    told = b'{"kind":"Status","code":403,"message":"pods is forbidden: User \\"x\\" cannot list"}'
    assert refusal(403, told) == 'Kubernetes refuses (403): pods is forbidden: User "x" cannot list'
    assert refusal(502, b"<html>bad gateway") == "Kubernetes refuses (502): <html>bad gateway"
