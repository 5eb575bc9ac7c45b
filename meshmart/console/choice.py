"""Finds what a viewer has chosen: a service, a replica, or the calls between two services. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from meshmart.console.observer import Observer, Watched


@dataclass(frozen=True)
class Choice:
    """A choice, and the processes that it is about."""

    service: str
    """The service; of an edge, the caller."""
    replicas: tuple[Watched, ...]
    """The chosen replicas of the service, those that are ready first."""
    replica: str = ""
    """The name of the replica, if one was chosen."""
    target: str = ""
    """The service that is called, if an edge was chosen."""


def find(observer: Observer, name: Sequence[str]) -> Choice | None:
    """Return a choice; None if there is no such service, replica or edge.

    Args:
        observer: What is known of the mesh.
        name: See `history.Name`.
    """
    match list(name):
        case ["edge", source, target] if {source, target} <= set(observer.services):
            return Choice(source, _replicas(observer, source), target=target)
        case [service] if service in observer.services:
            return Choice(service, _replicas(observer, service))
        case [service, replica]:
            watched = observer.watched.get(replica)
            if watched and watched.service == service:
                return Choice(service, (watched,), replica)
    return None


def _replicas(observer: Observer, service: str) -> tuple[Watched, ...]:
    found = (w for w in observer.watched.values() if w.service == service)
    return tuple(sorted(found, key=lambda w: (not w.ready, w.silent_since is not None, w.id)))
