"""The shape of `meshmart status --json`, told by a Kubernetes. Pure."""

from collections.abc import Mapping, Sequence
from typing import Any

from meshmart.kubernetes import objects
from meshmart.kubernetes.api import Object

#: Which Service answers under which key. The port of its pages is named `http`, as the chart has it.
_ADDRESSES = {"storefront": "storefront", "prometheus": "prometheus", "traces": "jaeger"}
_PAGES = "http"


def status(
    deployments: Sequence[Object],
    pods: Mapping[str, Sequence[tuple[int, Object]]],
    services: Sequence[Object],
    domain: str,
) -> dict[str, Any]:
    """What the command prints of a release.

    Args:
        deployments: Of the shop.
        pods: Numbered, by service.
        services: The namespace's Services.
        domain: What the names of Services end with: `meshmart.svc.cluster.local`.
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
        "restarts": replica.restarts,
        "metrics": replica.metrics,
        "health": f"{replica.host}:{objects.port(pod, 'health')}",
    }


def _address(services: Sequence[Object], service: str, domain: str) -> str | None:
    """Where the pages of a Service are inside the cluster; None where there are none."""
    for each in services:
        if objects.name(each) == service:
            for port in each["spec"]["ports"]:
                if port.get("name") == _PAGES:
                    return f"http://{service}.{domain}:{port['port']}"
    return None
