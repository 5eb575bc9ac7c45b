"""Turns the cluster's status and the replicas' pages into snapshots of the mesh. Pure: no I/O, no clock."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from meshmart.console import edges, services
from meshmart.console.digest import Digest, digest
from meshmart.console.model import Snapshot
from meshmart.console.series import Page, Parser
from meshmart.console.window import Reading, Window

#: The most services and replicas that are shown.
MAX_SERVICES, MAX_REPLICAS = 200, 5_000


_NOTHING = digest(Window())


@dataclass(slots=True)
class Watched:
    """A replica: what the cluster says of it, and what its own pages say."""

    service: str
    id: int
    name: str
    address: str
    """The address that callers connect to, `host:port`."""
    metrics: str
    """The URL of its metrics page."""
    incarnation: str = ""
    ready: bool = False
    draining: bool = False
    restarts: int = 0
    was_ready: bool = False
    """Whether this incarnation was ready before."""
    renew_before: float | None = None
    """How long before its end its certificate is renewed, in seconds; None if that is not known."""
    window: Window = field(default_factory=Window)
    complete: bool = True
    """Whether the last page was read as a whole."""
    digest: Digest = _NOTHING
    """What the readings in the window say."""
    silent_since: float | None = None
    """When its page could first not be read, in monotonic seconds; None if the last attempt succeeded."""


class Observer:
    """Collects what is known of the mesh.

    `cluster` and `page` are called with whatever comes in, in any order; `snapshot` says how things stand.

    Args:
        renew_before: How long before their end certificates are renewed, in seconds, if the cluster's status
            does not say it. None: that is not known.
    """

    def __init__(self, renew_before: float | None = None) -> None:
        self._renew_before = renew_before
        self._parser = Parser()
        self._watched: dict[str, Watched] = {}
        self._services: list[str] = []
        self._failing: frozenset[tuple[str, str]] = frozenset()
        self._problem = ""

    @property
    def watched(self) -> Mapping[str, Watched]:
        """Return the present replicas by name."""
        return self._watched

    @property
    def services(self) -> Collection[str]:
        return self._services

    def cluster(self, status: Mapping[str, Any]) -> None:
        """Take over the status of the cluster, as `meshmart status --json` prints it."""
        self._problem = ""
        self._services = list(status["services"])[:MAX_SERVICES]
        present: dict[str, Watched] = {}
        for service in self._services:
            renew_before = status["services"][service].get("renew_before", self._renew_before)
            for told in status["services"][service]["replicas"]:
                if len(present) < MAX_REPLICAS:
                    watched = self._known(service, told)
                    _update(watched, told)
                    watched.renew_before = renew_before
                    present[watched.name] = watched
        self._watched = present

    def unreachable(self, problem: str) -> None:
        """Note that the cluster's status cannot be read. Replicas are shown as they were."""
        self._problem = problem

    def page(self, name: str, text: str, at: float) -> None:
        """Take over a replica's metrics page, read at `at` in monotonic seconds."""
        if watched := self._watched.get(name):
            page: Page = self._parser.parse(text)
            watched.complete, watched.silent_since = page.complete, None
            watched.window.add(Reading(at, page.values))
            watched.digest = digest(watched.window)

    def silent(self, name: str, at: float) -> None:
        """Note that a replica's page could not be read at `at` in monotonic seconds."""
        if (watched := self._watched.get(name)) and watched.silent_since is None:
            watched.silent_since = at

    def snapshot(self, now: float, at: float) -> Snapshot:
        """Return the mesh as it stands.

        Args:
            now: Monotonic seconds.
            at: The same moment in Unix seconds.
        """
        views = services.build(self._services, self._watched.values(), now)
        calls = edges.build(self._services, self._watched.values(), self._failing)
        self._failing = frozenset((e.source, e.target) for e in calls if e.failing)
        return Snapshot(at, views, calls, self._problem)

    def _known(self, service: str, told: Mapping[str, Any]) -> Watched:
        name = str(told.get("pod") or f"{service}-{told['id']}")
        address = f"{told['address']}:{told['port']}"
        known = self._watched.get(name)
        if known and (known.address, known.metrics) == (address, told["metrics"]):
            return known
        return Watched(service, told["id"], name, address, told["metrics"])


def _update(watched: Watched, told: Mapping[str, Any]) -> None:
    incarnation = str(told.get("pod") or told.get("pid") or "")
    if incarnation != watched.incarnation:
        watched.incarnation, watched.was_ready, watched.silent_since = incarnation, False, None
        watched.window, watched.digest = Window(), _NOTHING
    elif watched.ready:
        watched.was_ready = True
    watched.ready, watched.draining = told["ready"], told.get("draining", False)
    watched.restarts = told["restarts"]
