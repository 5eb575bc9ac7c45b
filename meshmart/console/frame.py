"""Encodes a snapshot for the page. Zeros and empty values are left out: most figures are zero. Pure."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from meshmart.console.codes import OK
from meshmart.console.model import EdgeView, Event, ReplicaView, ServiceView, Snapshot, Traffic


class Entry(NamedTuple):
    """An event of the feed."""

    number: int
    at: float
    """Unix seconds."""
    event: Event


def encode(snapshot: Snapshot, feed: Iterable[Entry], about: Mapping[str, Any]) -> bytes:
    """Return a frame as JSON.

    Args:
        snapshot: The mesh.
        feed: The last events, the oldest first.
        about: More members of the frame, such as the links to other pages.
    """
    frame = {
        "at": round(snapshot.at, 3),
        "problem": snapshot.problem,
        "services": [_service(s) for s in snapshot.services],
        "edges": [_edge(e) for e in snapshot.edges],
        "feed": [{"n": e.number, "at": round(e.at, 3), **asdict(e.event)} for e in feed],
        **about,
    }
    return json.dumps(frame, separators=(",", ":"), allow_nan=False).encode()


def _service(service: ServiceView) -> dict[str, Any]:
    return _lean(
        name=service.name,
        **_traffic(service.traffic),
        shed=_short(service.shed),
        outbox=_lean(**asdict(service.outbox)) if service.outbox else None,
        certificates=[_lean(**asdict(c)) for c in service.certificates] or None,
        replicas=[_replica(r) for r in service.replicas],
    )


def _replica(replica: ReplicaView) -> dict[str, Any]:
    return _lean(
        id=replica.id,
        name=replica.name,
        state=replica.state.value,
        note=replica.note,
        address=replica.address,
        restarts=replica.restarts,
        ejected_by=replica.ejected_by,
        callers=replica.callers,
        **_traffic(replica.traffic),
        share=_short(replica.share),
        shed=_short(replica.shed),
        in_flight=replica.in_flight,
        limit=replica.limit,
        faults=replica.faults,
        # The service has the rest of it.
        serial=replica.certificate.serial[:8] if replica.certificate else "",
        age=_short(replica.age),
    )


def _edge(edge: EdgeView) -> dict[str, Any]:
    return _lean(
        source=edge.source,
        target=edge.target,
        **_traffic(edge.traffic),
        callers=edge.callers,
        retries=_short(edge.retries),
        hedges=_short(edge.hedges),
        budget_spent=edge.budget_spent,
        budget_allowed=edge.budget_allowed,
        budget_exhausted=_short(edge.budget_exhausted),
        breaker_in_flight=edge.breaker_in_flight,
        breaker_limit=edge.breaker_limit,
        breaker_refused=_short(edge.breaker_refused),
        waiting=edge.waiting,
        failing=edge.failing,
    )


def _traffic(traffic: Traffic) -> dict[str, Any]:
    return {
        "rate": _short(traffic.rate),
        "failing_rate": _short(traffic.failing),
        "p99": _short(traffic.p99),
        "calls": int(traffic.calls),
        "failures": int(traffic.failures),
        # What is missing of the calls ended with OK.
        "codes": [[c.name, _short(c.rate), int(c.calls)] for c in traffic.codes if c.name != OK] or None,
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.4g}")


def _lean(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, 0, "", False)}
