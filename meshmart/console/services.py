"""Builds the view of services and their replicas. Pure."""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from meshmart.console.certificates import distinct, with_renewal
from meshmart.console.digest import Digest
from meshmart.console.model import Outbox, ReplicaView, ServiceView, State, Traffic
from meshmart.console.traffic import total

if TYPE_CHECKING:
    from meshmart.console.observer import Watched

#: Seconds without an answer after which a ready replica's process counts as broken.
SILENCE = 5.0


def build(names: Sequence[str], watched: Collection["Watched"], now: float) -> tuple[ServiceView, ...]:
    """Return the services in the order of `names`.

    Args:
        names: The services of the cluster.
        watched: Its replicas.
        now: Monotonic seconds.
    """
    callers, ejections = opinions(watched)
    by_service: dict[str, list[Watched]] = defaultdict(list)
    for each in watched:
        by_service[each.service].append(each)
    return tuple(_service(name, by_service[name], callers, ejections, now) for name in names)


def opinions(watched: Iterable["Watched"]) -> tuple[Counter[str], Counter[str]]:
    """Return how many processes know each endpoint, and how many of them have ejected it."""
    callers, ejections = Counter[str](), Counter[str]()
    for each in watched:
        callers.update(each.digest.knows)
        ejections.update(each.digest.ejected)
    return callers, ejections


def traffic(digests: Collection[Digest]) -> Traffic:
    """Return the calls that processes served together."""
    buckets = defaultdict[float, float](float)
    for each in digests:
        for bound, value in each.buckets.items():
            buckets[bound] += value
    return total((each.traffic for each in digests), buckets)


def _service(
    name: str,
    watched: Sequence["Watched"],
    callers: Mapping[str, int],
    ejections: Mapping[str, int],
    now: float,
) -> ServiceView:
    whole = traffic([w.digest for w in watched])
    replicas = tuple(
        _replica(w, whole.rate, callers.get(w.address, 0), ejections.get(w.address, 0), now)
        for w in sorted(watched, key=lambda w: w.id)
    )
    used = distinct(replica.certificate for replica in replicas)
    return ServiceView(name, replicas, whole, _outbox(watched), used)


def _replica(watched: "Watched", total: float, callers: int, ejected_by: int, now: float) -> ReplicaView:
    page, own = watched.digest.values, watched.digest.traffic
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
        shed=watched.digest.shed,
        in_flight=int(page.get(("in_flight",), 0)),
        limit=int(page[("limit",)]) if ("limit",) in page else None,
        faults=int(page.get(("faults",), 0)),
        certificate=with_renewal(watched.digest.certificate, watched.renew_before),
        age=now - last.at if last else None,
    )


def condition(watched: "Watched", ejected_by: int, callers: int, now: float) -> tuple[State, str]:
    """Return a replica's state, and why it is in it."""
    page = watched.digest.values
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


def _outbox(watched: Iterable["Watched"]) -> Outbox | None:
    """Return the state of a service's outbox.

    Its replicas share one table, and each reports the same events, so the largest report counts.
    """
    found = (each.digest.outbox for each in watched)
    return max((o for o in found if o is not None), key=lambda o: (o.pending, o.dead), default=None)
