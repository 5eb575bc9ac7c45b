"""Builds the data of `meshmart status --json` from Kubernetes objects. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from meshmart.kubernetes import objects
from meshmart.kubernetes.api import Object

#: The Service for each key. The port of its pages is named `http`, as in the chart.
_ADDRESSES = {"storefront": "storefront", "prometheus": "prometheus", "traces": "jaeger"}
_PAGES = "http"


def status(
    deployments: Sequence[Object],
    pods: Mapping[str, Sequence[tuple[int, Object]]],
    services: Sequence[Object],
    domain: str,
) -> dict[str, Any]:
    """Return the status of a release.

    Args:
        deployments: The Deployments of the shop.
        pods: The numbered pods, by service.
        services: The namespace's Services.
        domain: The suffix of the Services' DNS names, such as `meshmart.svc.cluster.local`.
    """
    return {
        "dns": None,
        **{key: _address(services, service, domain) for key, service in _ADDRESSES.items()},
        "services": {
            service: _service(deployment, pods.get(service, ()))
            for deployment in deployments
            if (service := objects.name(deployment))
        },
    }


def _service(deployment: Object, pods: Sequence[tuple[int, Object]]) -> dict[str, Any]:
    port = objects.port(deployment["spec"]["template"], "grpc", "http")
    return {"port": port, "replicas": [_replica(number, pod) for number, pod in pods]}


def _replica(number: int, pod: Object) -> dict[str, Any]:
    replica = objects.replica(pod, number, "")
    return {
        "id": number,
        "address": replica.host,
        "port": replica.port,
        "pid": None,
        "pod": replica.name,
        "ready": replica.ready,
        "draining": objects.draining(pod),
        "restarts": replica.restarts,
        "metrics": replica.metrics,
        "health": f"{replica.host}:{objects.port(pod, 'health')}",
    }


def _address(services: Sequence[Object], service: str, domain: str) -> str | None:
    """Return the URL of a Service's pages inside the cluster, or None if it has none."""
    for each in services:
        if objects.name(each) == service:
            for port in each["spec"]["ports"]:
                if port.get("name") == _PAGES:
                    return f"http://{service}.{domain}:{port['port']}"
    return None
