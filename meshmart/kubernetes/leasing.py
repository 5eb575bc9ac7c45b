"""A Deployment that is scaled for a while: its annotations say until when, and how many replicas it had.

Pure: what to patch, and what a Deployment says. Whoever scaled it renews the lease; the toolbox restores what
nobody renews (`meshmart.toolbox`), whichever of its pods runs then.
"""

from typing import Any

from meshmart.kubernetes.api import Object

#: How many replicas there were, and the Unix time (seconds) after which they are restored.
BEFORE, UNTIL = "meshmart.io/replicas-before", "meshmart.io/replicas-leased-until"


def before(deployment: Object) -> int | None:
    """How many replicas it had before it was scaled for a while; None where it was not."""
    told = _annotations(deployment).get(BEFORE, "")
    return int(told) if told.isdecimal() else None


def over(deployment: Object, now: float) -> bool:
    """Whether nobody has renewed its lease. One that cannot be read is over."""
    try:
        return float(_annotations(deployment).get(UNTIL, "")) <= now
    except ValueError:
        return True


def taken(deployment: Object, replicas: int, lease: float, now: float) -> dict[str, Any]:
    """A patch that scales it under a lease. One that has a lease already keeps the number of before."""
    known = before(deployment)
    first = int(deployment["spec"].get("replicas", 1)) if known is None else known
    # With the version that was read: two that take a lease at once must not take each other's number.
    version = deployment["metadata"]["resourceVersion"]
    annotations = {BEFORE: str(first), UNTIL: _until(lease, now)}
    return {
        "metadata": {"resourceVersion": version, "annotations": annotations},
        "spec": {"replicas": replicas},
    }


def renewed(lease: float, now: float) -> dict[str, Any]:
    """A patch that renews its lease."""
    return {"metadata": {"annotations": {UNTIL: _until(lease, now)}}}


def forgotten(replicas: int) -> dict[str, Any]:
    """A patch that scales it for good."""
    return {"metadata": {"annotations": {BEFORE: None, UNTIL: None}}, "spec": {"replicas": replicas}}


def _until(lease: float, now: float) -> str:
    return f"{now + lease:.0f}"


def _annotations(deployment: Object) -> Any:
    return deployment["metadata"].get("annotations") or {}
