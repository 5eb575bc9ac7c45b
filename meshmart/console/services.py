"""Builds the view of services and their replicas. Pure."""

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from meshmart.console.model import Certificate, Outbox, ReplicaView, ServiceView, State, Traffic
from meshmart.console.series import Key
from meshmart.console.window import quantile

if TYPE_CHECKING:
    from meshmart.console.observer import Watched

#: Seconds without an answer after which a ready replica's process counts as broken.
SILENCE = 5.0
_OK, _FAILED = ("served", "ok"), ("served", "failed")
Rates = Mapping[str, Mapping[Key, float]]
"""The rates of each replica's counters, by its name."""


def build(
    names: Sequence[str], watched: Collection["Watched"], rates: Rates, now: float
) -> tuple[ServiceView, ...]:
    """Return the services in the order of `names`.

    Args:
        names: The services of the cluster.
        watched: Its replicas.
        rates: What each replica's counters did lately.
        now: Monotonic seconds.
    """
    callers, ejections = opinions(watched)
    by_service: dict[str, list[Watched]] = defaultdict(list)
    for each in watched:
        by_service[each.service].append(each)
    return tuple(_service(name, by_service[name], rates, callers, ejections, now) for name in names)


def opinions(watched: Iterable["Watched"]) -> tuple[Counter[str], Counter[str]]:
    """Return how many processes know each endpoint, and how many of them have ejected it."""
    callers, ejections = Counter[str](), Counter[str]()
    for each in watched:
        for key in values(each):
            if key[0] == "knows":
                callers[key[2]] += 1
            elif key[0] == "ejected":
                ejections[key[2]] += 1
    return callers, ejections


def values(watched: "Watched") -> Mapping[Key, float]:
    """Return the values of a replica's last page; nothing if it was never read."""
    return watched.window.last.values if watched.window.last else {}


def traffic(rates: Iterable[Mapping[Key, float]], totals: Iterable[Mapping[Key, float]]) -> Traffic:
    """Return the calls that processes served, by their rates and their values."""
    buckets = defaultdict[float, float](float)
    ok = failing = good = bad = 0.0
    for rate in rates:
        ok += rate.get(_OK, 0.0)
        failing += rate.get(_FAILED, 0.0)
        for key, value in rate.items():
            if key[0] == "serve_le":
                buckets[bound(key[1])] += value
    for total in totals:
        good += total.get(_OK, 0.0)
        bad += total.get(_FAILED, 0.0)
    return Traffic(ok + failing, failing, quantile(0.99, buckets), good + bad, bad)


def bound(text: str) -> float:
    """Return the upper bound of a bucket, in seconds; infinite if it is no number."""
    try:
        return float(text)
    except ValueError:
        return math.inf


def _service(
    name: str,
    watched: Sequence["Watched"],
    rates: Rates,
    callers: Mapping[str, int],
    ejections: Mapping[str, int],
    now: float,
) -> ServiceView:
    whole = traffic((rates[w.name] for w in watched), map(values, watched))
    replicas = (
        _replica(w, rates[w.name], whole.rate, callers.get(w.address, 0), ejections.get(w.address, 0), now)
        for w in sorted(watched, key=lambda w: w.id)
    )
    return ServiceView(name, tuple(replicas), whole, _outbox(watched))


def _replica(
    watched: "Watched", rates: Mapping[Key, float], total: float, callers: int, ejected_by: int, now: float
) -> ReplicaView:
    page, own = values(watched), traffic([rates], [values(watched)])
    state, note = condition(watched, ejected_by, callers, now)
    last = watched.window.last
    return ReplicaView(
        id=watched.id,
        name=watched.name,
        address=watched.address,
        state=state,
        note=note,
        ready=watched.ready,
        incarnation=watched.incarnation,
        restarts=watched.restarts,
        ejected_by=ejected_by,
        callers=callers,
        traffic=own,
        share=own.rate / total if total > 0 else None,
        shed=rates.get(("shed",), 0.0),
        in_flight=int(page.get(("in_flight",), 0)),
        limit=int(page[("limit",)]) if ("limit",) in page else None,
        faults=int(page.get(("faults",), 0)),
        certificate=_certificate(page),
        age=now - last.at if last else None,
    )


def condition(watched: "Watched", ejected_by: int, callers: int, now: float) -> tuple[State, str]:
    """Return a replica's state, and why it is in it."""
    page = values(watched)
    silent = 0.0 if watched.silent_since is None else now - watched.silent_since
    if watched.draining or page.get(("draining",)):
        return State.DRAINING, "finishes its calls and takes no new ones"
    if not watched.incarnation and watched.restarts:
        return State.BROKEN, "its process has ended and is started again"
    if not watched.ready:
        why = "its health probe fails" if page.get(("serving",)) else "NOT_SERVING"
        return (State.BROKEN, why) if watched.was_ready else (State.STARTING, "")
    if silent >= SILENCE:
        return State.BROKEN, f"its admin port has not answered for {silent:.0f} s"
    if ejected_by:
        return State.EJECTED, f"ejected by {ejected_by} of {callers} callers"
    return State.READY, "" if watched.complete else "its metrics page is too large or malformed"


def _certificate(page: Mapping[Key, float]) -> Certificate | None:
    serial = next((key[1] for key in page if key[0] == "serial"), None)
    if serial is None or ("not_after",) not in page:
        return None
    return Certificate(serial[:64], page.get(("not_before",), 0.0), page[("not_after",)])


def _outbox(watched: Iterable["Watched"]) -> Outbox | None:
    """Return the state of a service's outbox.

    Its replicas share one table, and each reports the same events, so the largest report counts.
    """
    found: list[Outbox] = []
    for each in watched:
        page = values(each)
        topics = [key[1] for key in page if key[0] == "outbox_pending"]
        if topics:
            found.append(
                Outbox(
                    int(sum(page[("outbox_pending", t)] for t in topics)),
                    max(page.get(("outbox_oldest", t), 0.0) for t in topics),
                    int(sum(page.get(("outbox_dead", t), 0.0) for t in topics)),
                )
            )
    return max(found, key=lambda o: (o.pending, o.dead), default=None)
