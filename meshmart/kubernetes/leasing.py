"""Annotations of a Deployment that is scaled temporarily: the end of its lease, and its replicas before.

Pure: it computes patches and reads Deployments. The command that scaled it renews the lease. The toolbox
restores Deployments whose leases nobody renews (`meshmart.toolbox`), whichever of its pods runs then.
"""

from typing import Any

from meshmart.kubernetes.api import Object

#: Annotations with the number of replicas before, and the Unix time (seconds) after which it is restored.
BEFORE, UNTIL = "meshmart.io/replicas-before", "meshmart.io/replicas-leased-until"


def before(deployment: Object) -> int | None:
    """Return the number of replicas before it was scaled temporarily, or None if it was not."""
    told = _annotations(deployment).get(BEFORE, "")
    return int(told) if told.isdecimal() else None


def over(deployment: Object, now: float) -> bool:
    """Return whether its lease has ended. A lease that cannot be parsed has ended."""
    try:
        return float(_annotations(deployment).get(UNTIL, "")) <= now
    except ValueError:
        return True


def taken(deployment: Object, replicas: int, lease: float, now: float) -> dict[str, Any]:
    """Return a patch that scales it under a lease. If it has a lease, the original number of replicas is
    kept.

    Args:
        replicas: The number of replicas.
        lease: Seconds.
        now: Unix seconds.
    """
    known = before(deployment)
    first = int(deployment["spec"].get("replicas", 1)) if known is None else known
    # With the version that was read, so that of two simultaneous leases one does not record the other's
    # number.
    version = deployment["metadata"]["resourceVersion"]
    annotations = {BEFORE: str(first), UNTIL: _until(lease, now)}
    return {
        "metadata": {"resourceVersion": version, "annotations": annotations},
        "spec": {"replicas": replicas},
    }


def renewed(lease: float, now: float) -> dict[str, Any]:
    """Return a patch that renews its lease."""
    return {"metadata": {"annotations": {UNTIL: _until(lease, now)}}}


def forgotten(replicas: int) -> dict[str, Any]:
    """Return a patch that scales it permanently."""
    return {"metadata": {"annotations": {BEFORE: None, UNTIL: None}}, "spec": {"replicas": replicas}}


def _until(lease: float, now: float) -> str:
    return f"{now + lease:.0f}"


def _annotations(deployment: Object) -> Any:
    return deployment["metadata"].get("annotations") or {}
