"""Reads facts from pods and Deployments. Pure."""

from collections.abc import Sequence
from typing import Any

from local.errors import ClusterError
from meshmart.cluster import Replica
from meshmart.kubernetes.api import Object

PART_OF = "app.kubernetes.io/part-of=meshmart"
#: Selects the objects that run the shop: no database, no telemetry, no toolbox.
SERVICES = f"{PART_OF},app.kubernetes.io/component in (service,web,load)"
NAME = "app.kubernetes.io/name"
#: The pods of a service that are gone and whose numbers are remembered.
_REMEMBERED = 1_000


def selector(service: str) -> str:
    """Return the label selector of a service's pods."""
    return f"{SERVICES},{NAME}={service}"


def name(thing: Object) -> str:
    """Return the name of an object."""
    return str(thing["metadata"]["name"])


def service_of(thing: Object) -> str:
    """Return the service to which an object belongs; empty if it has no such label."""
    return str(thing["metadata"].get("labels", {}).get(NAME, ""))


def leaving(pod: Object) -> bool:
    """Return whether a pod is being deleted, or has ended for good."""
    return bool(pod["metadata"].get("deletionTimestamp")) or phase(pod) in ("Succeeded", "Failed")


def draining(pod: Object) -> bool:
    """Return whether a pod is being deleted and has not ended yet."""
    return leaving(pod) and phase(pod) not in ("Succeeded", "Failed")


def phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase", ""))


def ready(pod: Object) -> bool:
    """Return whether a pod is an endpoint of its Service, and so gets calls."""
    return not leaving(pod) and condition(pod, "Ready").get("status") == "True"


def condition(thing: Object, kind: str) -> Object:
    """Return a condition of an object's status; empty if it has none of that kind."""
    conditions = thing.get("status", {}).get("conditions") or ()
    return next((c for c in conditions if c["type"] == kind), {})


def port(pod: Object, *names: str) -> int:
    """Return the number of the first of these ports that a pod's containers have, or 0 if they have none."""
    ports = {
        p.get("name"): int(p["containerPort"])
        for container in pod["spec"]["containers"]
        for p in container.get("ports", ())
    }
    return next((ports[n] for n in names if n in ports), 0)


def container(pod: Object) -> str:
    """Return the name of the container that is the service; the others of a pod are not ours."""
    names = [str(c["name"]) for c in pod["spec"]["containers"]]
    return service_of(pod) if service_of(pod) in names else names[0]


def restarts(pod: Object) -> int:
    statuses = pod.get("status", {}).get("containerStatuses") or ()
    return sum(int(s.get("restartCount", 0)) for s in statuses)


def bracketed(host: str) -> str:
    """Return a host in the form that precedes a port."""
    return f"[{host}]" if ":" in host else host


def replica(pod: Object, number: int, server_name: str) -> Replica:
    """Return a pod as a replica of its service."""
    host = bracketed(str(pod.get("status", {}).get("podIP", "")))
    return Replica(
        id=number,
        name=name(pod),
        host=host,
        port=port(pod, "grpc", "http"),
        server_name=server_name,
        incarnation=str(pod["metadata"]["uid"]),
        ready=ready(pod),
        restarts=restarts(pod),
        metrics=f"http://{host}:{port(pod, 'admin')}/metrics",
    )


class Numbers:
    """Numbers the pods of each service, the oldest first.

    A pod keeps its number, and no other pod gets it, for the lifetime of this object. Of pods that are gone,
    the latest are remembered.
    """

    def __init__(self) -> None:
        self._given: dict[str, dict[str, int]] = {}
        self._last: dict[str, int] = {}

    def numbered(self, service: str, pods: Sequence[Object]) -> list[tuple[int, Object]]:
        """Return the pods with their numbers, in the order of the numbers."""
        given = self._given.setdefault(service, {})
        for pod in sorted(pods, key=lambda p: (p["metadata"]["creationTimestamp"], name(p))):
            if name(pod) not in given:
                given[name(pod)] = self._last[service] = self._last.get(service, 0) + 1
        present = {name(pod) for pod in pods}
        gone = [n for n in given if n not in present]
        for forgotten in gone[: max(0, len(gone) - _REMEMBERED)]:
            del given[forgotten]
        return sorted(((given[name(p)], p) for p in pods), key=lambda pair: pair[0])


def rolled_out(deployment: Object) -> bool:
    """Return whether every replica is of the latest template, and available.

    Raises:
        ClusterError: Kubernetes has given up on the rollout.
    """
    status = deployment.get("status", {})
    if int(status.get("observedGeneration", 0)) < int(deployment["metadata"]["generation"]):
        return False
    progressing = condition(deployment, "Progressing")
    if progressing.get("reason") == "ProgressDeadlineExceeded":
        raise ClusterError(f"{name(deployment)} does not roll out: {progressing.get('message', '')}")
    wanted = int(deployment["spec"].get("replicas", 1))
    counts = [int(status.get(key, 0)) for key in ("replicas", "updatedReplicas", "availableReplicas")]
    return all(count == wanted for count in counts)


def autoscaler(autoscalers: Sequence[Object], service: str) -> str:
    """Return the HorizontalPodAutoscaler that controls a service's replicas; empty if there is none."""
    for each in autoscalers:
        target: Any = each["spec"]["scaleTargetRef"]
        if target["kind"] == "Deployment" and target["name"] == service:
            return name(each)
    return ""
