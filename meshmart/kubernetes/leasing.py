"""Annotations of a Deployment that is scaled temporarily: the end of its lease, its replicas before and now.

Pure: it computes patches and reads Deployments. The command that scaled it renews the lease. The toolbox
restores Deployments whose leases nobody renews (`meshmart.toolbox`), whichever of its pods runs then.
"""

from typing import Any

from meshmart.kubernetes.api import Object

#: Annotations with the number of replicas before, and the Unix time (seconds) after which it is restored.
BEFORE, UNTIL = "meshmart.io/replicas-before", "meshmart.io/replicas-leased-until"
#: The number that it was scaled to. If it has another one, somebody has scaled it who knows of no lease.
LEASED = "meshmart.io/replicas-leased"


def before(deployment: Object) -> int | None:
    """Return the number of replicas before it was scaled temporarily, or None if it was not, or somebody
    else has scaled it since: `kubectl scale`, `helm upgrade`.
    """
    annotations, now = _annotations(deployment), str(_replicas(deployment))
    told = annotations.get(BEFORE, "")
    return int(told) if told.isdecimal() and annotations.get(LEASED, now) == now else None


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
    first = _replicas(deployment) if known is None else known
    # With the version that was read, so that of two simultaneous leases one does not record the other's
    # number.
    annotations = {BEFORE: str(first), LEASED: str(replicas), UNTIL: _until(lease, now)}
    return {
        "metadata": {"resourceVersion": _version(deployment), "annotations": annotations},
        "spec": {"replicas": replicas},
    }


def renewed(lease: float, now: float) -> dict[str, Any]:
    """Return a patch that renews its lease."""
    return {"metadata": {"annotations": {UNTIL: _until(lease, now)}}}


def forgotten(replicas: int) -> dict[str, Any]:
    """Return a patch that scales it permanently."""
    return {
        "metadata": {"annotations": {BEFORE: None, LEASED: None, UNTIL: None}},
        "spec": {"replicas": replicas},
    }


def ended(deployment: Object) -> dict[str, Any]:
    """Return a patch that ends its lease.

    It gets its number of before, unless somebody else has scaled it since: then it keeps that one.
    """
    known = before(deployment)
    patch = forgotten(_replicas(deployment) if known is None else known)
    # With the version that was read, so that what somebody scales, takes or renews just now is kept.
    patch["metadata"]["resourceVersion"] = _version(deployment)
    return patch


def expired(deployment: Object, now: float) -> dict[str, Any] | None:
    """Return a patch that ends its lease, or None if it has none that has ended."""
    leased = BEFORE in _annotations(deployment)
    return ended(deployment) if leased and over(deployment, now) else None


def _until(lease: float, now: float) -> str:
    return f"{now + lease:.0f}"


def _replicas(deployment: Object) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _version(deployment: Object) -> Any:
    return deployment["metadata"]["resourceVersion"]


def _annotations(deployment: Object) -> Any:
    return deployment["metadata"].get("annotations") or {}
