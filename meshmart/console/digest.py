"""Computes what a replica's readings say, once for each page that is read. Pure.

A mesh of 3,000 replicas has more than a million values, of which few change from one frame to
the next: a frame adds up digests, and never goes through the values.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from meshmart.console.model import Certificate, Outbox, Traffic
from meshmart.console.series import Key
from meshmart.console.traffic import by_code, traffic
from meshmart.console.window import Window, bound

Sums = dict[Key, float]
About = tuple[str, str]
"""What a client's value is about: `("provider", gRPC service)` or `("target", service)`."""
_BY_PROVIDER = frozenset({"called", "call_le"})
_BY_TARGET = frozenset(
    {"retries", "hedges", "budget_exhausted", "budget_spent", "budget_allowed", "breaker_in_flight"}
    | {"breaker_limit", "breaker_refused", "waiting", "picks"}
)


@dataclass(frozen=True, slots=True)
class Digest:
    """What the readings of one replica say."""

    values: Mapping[Key, float]
    """The values of its last page; empty if the replica was never read."""
    traffic: Traffic
    """The calls that it served."""
    buckets: Mapping[float, float]
    """The rate of its unary calls by the upper bound of their latency, cumulative, in seconds."""
    shed: float
    """Calls per second that admission refused."""
    knows: frozenset[str]
    ejected: frozenset[str]
    """The endpoints that it knows, and those that it has ejected as an endpoint of any target."""
    certificate: Certificate | None
    outbox: Outbox | None
    provides: frozenset[str]
    """The gRPC services that it serves."""
    now: Mapping[About, Sums]
    total: Mapping[About, Sums]
    """Its own calls: the rates of the counters, and the values."""


def digest(window: Window) -> Digest:
    """Return what the readings in a window say."""
    last, rates = window.last, window.rates()
    values = last.values if last else {}
    buckets = {bound(key[1]): rate for key, rate in rates.items() if key[0] == "serve_le"}
    by_kind = _by_kind(values)
    return Digest(
        values=values,
        traffic=traffic(by_code("served", rates), by_code("served", values), buckets),
        buckets=buckets,
        shed=rates.get(("shed",), 0.0),
        knows=frozenset(key[2] for key in by_kind.get("knows", ())),
        ejected=frozenset(key[2] for key in by_kind.get("ejected", ()) if values[key] > 0),
        certificate=_certificate(values, by_kind),
        outbox=_outbox(values, by_kind),
        provides=frozenset(key[1] for key in by_kind.get("provides", ())),
        now=_calls(rates),
        total=_calls(values),
    )


def _by_kind(values: Mapping[Key, float]) -> Mapping[str, list[Key]]:
    found: dict[str, list[Key]] = defaultdict(list)
    for key in values:
        found[key[0]].append(key)
    return found


def _certificate(values: Mapping[Key, float], by_kind: Mapping[str, list[Key]]) -> Certificate | None:
    serials = by_kind.get("serial")
    if not serials or ("not_after",) not in values:
        return None
    return Certificate(serials[0][1][:64], values.get(("not_before",), 0.0), values[("not_after",)])


def _outbox(values: Mapping[Key, float], by_kind: Mapping[str, list[Key]]) -> Outbox | None:
    topics = [key[1] for key in by_kind.get("outbox_pending", ())]
    if not topics:
        return None
    return Outbox(
        int(sum(values[("outbox_pending", t)] for t in topics)),
        max(values.get(("outbox_oldest", t), 0.0) for t in topics),
        int(sum(values.get(("outbox_dead", t), 0.0) for t in topics)),
    )


def _calls(values: Mapping[Key, float]) -> Mapping[About, Sums]:
    found: dict[About, Sums] = {}
    for key, value in values.items():
        if key[0] in _BY_PROVIDER:
            about = ("provider", key[1])
        elif key[0] in _BY_TARGET:
            about = ("target", key[1].partition(".")[0])  # a full DNS name begins with the service
        else:
            continue
        # An edge does not show its endpoints, so the picks of all of them are added up.
        name = key[:1] if key[0] == "picks" else (key[0], *key[2:])
        sums = found.setdefault(about, {})
        sums[name] = sums.get(name, 0.0) + value
    return found
