"""Says in plain words what changed between two snapshots. Pure."""

from collections.abc import Iterator, Mapping

from local.words import plural
from meshmart.console.model import EdgeView, Event, Kind, ReplicaView, ServiceView, Snapshot, State

#: The most events of one comparison; of a larger burst the feed says only the number.
MOST = 50
#: Undelivered events from which an outbox is worth a line, and below which it is again all right.
BACKLOG, CAUGHT_UP = 100, 10


def diff(before: Snapshot, after: Snapshot) -> list[Event]:
    """Return what happened between two snapshots, at most `MOST` events. Nothing if `before` is empty."""
    if not before.services:
        return []
    told = [*_cluster(before, after), *_services(before, after), *_edges(before, after)]
    if len(told) <= MOST:
        return told
    rest = Event(Kind.INFO, f"{len(told) - MOST + 1} more things happened at the same time", "")
    return [*told[: MOST - 1], rest]


def _cluster(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    if after.problem and not before.problem:
        yield Event(Kind.BAD, f"The status of the cluster cannot be read: {after.problem}", "")
    elif before.problem and not after.problem:
        yield Event(Kind.GOOD, "The cluster says again how it is", "")


def _services(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    old = {s.name: s for s in before.services}
    for service in after.services:
        was = old.get(service.name, ServiceView(service.name))
        yield from _replicas(was, service)
        yield from _certificates(was, service)
        yield from _outbox(was, service)


def _replicas(before: ServiceView, after: ServiceView) -> Iterator[Event]:
    old, new = _by_name(before), _by_name(after)
    for name, replica in new.items():
        was = old.get(name)
        if was is None:
            yield _event(Kind.INFO, f"{name} was added and starts", after, name)
        for kind, text in _changes(was, replica):
            yield _event(kind, f"{name} {text}", after, name)
    for name in old.keys() - new.keys():
        yield _event(Kind.INFO, f"{name} was removed", after, name)


def _changes(was: ReplicaView | None, replica: ReplicaView) -> Iterator[tuple[Kind, str]]:
    if was is None:
        if replica.state is State.READY:
            yield Kind.GOOD, "is ready and takes calls"
        return
    if replica.restarts > was.restarts:
        yield Kind.BAD, f"ended and was started again ({plural(replica.restarts, 'restart')})"
    if (replica.state, replica.ejected_by) != (was.state, was.ejected_by):
        yield from _moved(was, replica)
    if (replica.faults > 0) != (was.faults > 0):
        yield (Kind.BAD, "has an injected fault") if replica.faults else (Kind.GOOD, "has no fault any more")
    if (replica.shed > 0) != (was.shed > 0):
        yield (
            (Kind.BAD, f"is overloaded and refuses {replica.shed:.1f} calls/s")
            if replica.shed
            else (Kind.GOOD, "refuses no calls any more")
        )


def _moved(was: ReplicaView, replica: ReplicaView) -> Iterator[tuple[Kind, str]]:
    """Say to which state a replica has come."""
    match replica.state:
        case State.READY if was.state is State.EJECTED:
            yield Kind.GOOD, "is back in rotation with every caller"
        case State.READY:
            yield Kind.GOOD, "is ready and takes calls"
        case State.DRAINING:
            yield Kind.INFO, "drains: it finishes its calls and takes no new ones"
        case State.EJECTED:
            more = replica.ejected_by > was.ejected_by
            yield Kind.BAD if more else Kind.INFO, f"is {replica.note}"
        case State.BROKEN if replica.restarts == was.restarts:
            yield Kind.BAD, f"left rotation: {replica.note}"
        case State.STARTING if was.incarnation != replica.incarnation and was.state is not State.BROKEN:
            yield Kind.INFO, "starts"


def _certificates(before: ServiceView, after: ServiceView) -> Iterator[Event]:
    """Say once for each service that it has a new certificate, when the first of its replicas uses it."""
    old = {r.name: r.certificate.serial for r in before.replicas if r.certificate}
    # A replica that is read for the first time has not renewed anything.
    present = {r.certificate.serial for r in after.replicas if r.certificate and r.name in old}
    if new := present - set(old.values()):
        serial = min(new)
        yield _event(Kind.INFO, f"{after.name} renewed its certificate: serial {serial[:8]}…", after)


def _outbox(before: ServiceView, after: ServiceView) -> Iterator[Event]:
    was, box = before.outbox, after.outbox
    if was is None or box is None:
        return
    if box.pending >= BACKLOG > was.pending:
        yield _event(Kind.BAD, f"{after.name}'s outbox grows: {box.pending} events wait", after)
    if box.pending <= CAUGHT_UP < was.pending and was.pending > CAUGHT_UP:
        yield _event(Kind.GOOD, f"{after.name}'s outbox has caught up", after)
    if box.dead > was.dead:
        yield _event(Kind.BAD, f"{after.name}'s outbox gave up {plural(box.dead - was.dead, 'event')}", after)


def _edges(before: Snapshot, after: Snapshot) -> Iterator[Event]:
    old: Mapping[tuple[str, str], EdgeView] = {(e.source, e.target): e for e in before.edges}
    for edge in after.edges:
        was = old.get((edge.source, edge.target), EdgeView(edge.source, edge.target))
        about = (edge.source, edge.target)
        for kind, text in _of_calls(was, edge):
            yield Event(kind, text, edge.target, about)


def _of_calls(was: EdgeView, edge: EdgeView) -> Iterator[tuple[Kind, str]]:
    calls = f"calls from {edge.source} to {edge.target}"
    if edge.failing and not was.failing:
        yield Kind.BAD, f"{1 - (edge.traffic.success or 0):.1%} of the {calls} fail"
    elif was.failing and not edge.failing and edge.traffic.rate:
        yield Kind.GOOD, f"The {calls} succeed again"
    if edge.budget_exhausted and not was.budget_exhausted:
        yield Kind.BAD, f"{edge.source} has used up its retry budget for {edge.target}: no more retries"
    if edge.breaker_refused and not was.breaker_refused:
        yield Kind.BAD, f"{edge.source}'s circuit breaker refuses calls to {edge.target}"
    elif was.breaker_refused and not edge.breaker_refused:
        yield Kind.GOOD, f"{edge.source}'s circuit breaker lets calls to {edge.target} through again"


def _by_name(service: ServiceView) -> Mapping[str, ReplicaView]:
    return {replica.name: replica for replica in service.replicas}


def _event(kind: Kind, text: str, service: ServiceView, replica: str = "") -> Event:
    return Event(kind, text, service.name, (replica,) if replica else (service.name,))
