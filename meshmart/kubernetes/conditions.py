"""Says why replicas are missing or not ready. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence

from grpcmesh.commands.doctor.findings import Finding
from meshmart.kubernetes import objects
from meshmart.kubernetes.api import Object

#: Reasons of a container that waits because its pod has only just begun.
_STARTING = ("ContainerCreating", "PodInitializing")


def missing(deployments: Sequence[Object], pods: Sequence[Object]) -> Iterator[Finding]:
    """Find services with fewer pods than they should have."""
    counts = Counter(map(objects.service_of, pods))
    for deployment in deployments:
        name, wanted = objects.name(deployment), int(deployment["spec"].get("replicas", 1))
        if counts[name] < wanted:
            why = objects.condition(deployment, "ReplicaFailure").get("message", "")
            yield Finding.of(
                "replica_missing",
                name,
                f"{counts[name]} of {wanted} pods exist{f': {why}' if why else ''}",
                f"`kubectl describe replicaset -l {objects.NAME}={name}` tells what keeps it from making "
                "pods, such as a quota or an admission webhook",
            )


def not_ready(pods: Sequence[Object]) -> Iterator[Finding]:
    """Find pods that get no calls."""
    for pod in pods:
        if not objects.ready(pod):
            name = objects.name(pod)
            yield Finding.of(
                "replica_not_ready",
                name,
                f"{_why(pod)}; it gets no calls",
                f"`kubectl describe pod {name}` and `kubectl logs {name} --previous` tell more; if it has "
                "just started, check again",
            )


def runs(pod: Object) -> bool:
    """Return whether a program can be run in the pod's container."""
    states = [s for s in _statuses(pod, "containerStatuses") if s.get("name") == objects.container(pod)]
    return objects.phase(pod) == "Running" and not any(_waits(s) or "terminated" in _state(s) for s in states)


def _why(pod: Object) -> str:
    scheduled = objects.condition(pod, "PodScheduled")
    if scheduled.get("status") == "False":
        return f"it is not scheduled: {scheduled.get('message', 'no reason given')}"
    statuses = [*_statuses(pod, "initContainerStatuses"), *_statuses(pod, "containerStatuses")]
    for status in statuses:
        if (waits := _waits(status)) and waits.get("reason") not in _STARTING:
            reason, message = waits.get("reason", "no reason given"), waits.get("message", "")
            text = f"container {status['name']} waits: {reason}{f': {message}' if message else ''}"
            return f"{text}{_ended(status)}"
    if objects.phase(pod) == "Running" and runs(pod):
        return f"it runs, but its readiness probe does not succeed{''.join(map(_ended, statuses))}"
    return f"it is {objects.phase(pod) or 'in no phase'}"


def _ended(status: Object) -> str:
    last = (status.get("lastState") or {}).get("terminated")
    if not last:
        return ""
    return f"; its last process ended with status {last.get('exitCode')} ({last.get('reason', 'no reason')})"


def _waits(status: Object) -> Object:
    found: Object = _state(status).get("waiting") or {}
    return found


def _state(status: Object) -> Object:
    found: Object = status.get("state") or {}
    return found


def _statuses(pod: Object, key: str) -> Sequence[Object]:
    found: Sequence[Object] = pod.get("status", {}).get(key) or ()
    return found
