"""Reads the cluster and its replicas, and publishes frames. One poller serves any number of viewers."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlencode

from grpcmesh.clock import Clock
from local.errors import ClusterError, NoAnswerError
from meshmart import scrape
from meshmart.console import events, frame
from meshmart.console.feed import Feed
from meshmart.console.history import History
from meshmart.console.hub import Hub
from meshmart.console.model import Event, Snapshot
from meshmart.console.observer import Observer
from meshmart.console.prometheus import RANGES
from meshmart.console.schedule import Budget, Schedule, Selection
from meshmart.console.series import NAMES

#: The largest selection of a metrics page that is read, in bytes.
MAX_PAGE = 2 * 1024 * 1024
_SELECTION = urlencode([("name[]", name) for name in NAMES])
#: Seconds between two checks which reads are due.
_TICK = 0.1
_STATUS_TIMEOUT = 2.0
#: Pages that the console links to.
LINKS = ("storefront", "traces", "prometheus")


class Cluster(Protocol):
    """What the poller needs of a cluster: `meshmart.cluster.Cluster` has it."""

    async def status(self) -> dict[str, Any]: ...


class Poller:
    """Owns everything that is known of the mesh.

    Args:
        cluster: The cluster.
        budget: How much is read.
        clock: Monotonic seconds.
        wall: Unix seconds.
        links: Addresses of other pages for a browser; None if they are those of the status.
        servers: URLs of the servers beside the mesh (`traces`, `prometheus`) that the cluster does not know.
        renew_before: See `Observer`.
    """

    def __init__(
        self,
        cluster: Cluster,
        budget: Budget,
        clock: Clock,
        wall: Callable[[], float],
        links: Mapping[str, str] | None = None,
        servers: Mapping[str, str] | None = None,
        renew_before: float | None = None,
    ) -> None:
        self._cluster, self._budget, self._clock, self.wall = cluster, budget, clock, wall
        self.hub, self.history = Hub(), History()
        self.observer = Observer(renew_before)
        self._schedule = Schedule(budget)
        self._selection = Selection(budget.most_selected)
        self._ports: dict[str, scrape.Pages] = {}
        self._feed = Feed()
        self._before = Snapshot()
        self._links, self._given = links, servers or {}
        self.servers: Mapping[str, str] = self._given
        """The URLs of the storefront, the trace store and Prometheus for this process, each if there is one.
        """
        self.more: Callable[[], Mapping[str, Any]] = dict
        """Returns further members of each frame."""

    async def run(self) -> None:
        """Read and publish until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._publish(), name="publish")
                while True:
                    self._forget()
                    watched, now = self.observer.watched, self._clock()
                    selected = self._selection.at(now)
                    for name in self._schedule.due(watched, now, self.hub.watched, selected):
                        group.create_task(self._read(name, watched[name].metrics), name=f"read-{name}")
                    await asyncio.sleep(_TICK)
        finally:
            for port in self._ports.values():
                port.close()

    async def _read(self, name: str, url: str) -> None:
        try:
            if url not in self._ports:
                self._ports[url], _ = scrape.pages(url, most=MAX_PAGE)
            text = await self._ports[url].get(f"/metrics?{_SELECTION}", self._budget.timeout)
            self.observer.page(name, text, self._clock())
        except NoAnswerError:
            self.observer.silent(name, self._clock())
        finally:
            self._schedule.done(name)

    def _forget(self) -> None:
        """Close the connections to replicas that are gone, or have moved."""
        for url in self._ports.keys() - {w.metrics for w in self.observer.watched.values()}:
            self._ports.pop(url).close()

    async def _publish(self) -> None:
        while True:
            await self._look()
            self.publish()
            period = self._budget.push if self.hub.watched else self._budget.idle_push
            self.hub.arrived.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(period):
                    await self.hub.arrived.wait()

    async def _look(self) -> None:
        """Ask the cluster which replicas there are."""
        try:
            async with asyncio.timeout(_STATUS_TIMEOUT):
                status = await self._cluster.status()
        except TimeoutError:
            self.observer.unreachable(f"no status within {_STATUS_TIMEOUT:g} s")
        except ClusterError as e:
            self.observer.unreachable(str(e))
        else:
            self.observer.cluster(status)
            self.servers = {**{name: status[name] for name in LINKS if status.get(name)}, **self._given}

    def select(self, names: Iterable[str]) -> None:
        """Read these replicas before others for some seconds: somebody looks at them."""
        self._selection.ask(names, self._clock())

    def tell(self, event: Event, at: float | None = None) -> None:
        """Add an event to the feed of the next frame. `at` is in Unix seconds; None means now."""
        self._feed.add(event, self.wall() if at is None else at)

    def publish(self) -> None:
        """Compare the mesh with how it was, and publish how it is."""
        snapshot = self.observer.snapshot(self._clock(), self.wall())
        for event in events.diff(self._before, snapshot):
            self.tell(event, snapshot.at)
        self._before = snapshot
        self.history.add(snapshot)
        watched = self.observer.watched
        selected = len(self._selection.at(self._clock()) & watched.keys()) if self.hub.watched else 0
        interval = self._budget.interval_of(len(watched), self.hub.watched, selected)
        about = {
            "links": self.servers if self._links is None else self._links,
            "interval": round(interval, 1),
            "selected": {"replicas": selected, "interval": self._budget.interval},
            "push": self._budget.push,
            "ranges": RANGES if "prometheus" in self.servers else (),
            **self.more(),
        }
        self.hub.publish(frame.encode(snapshot, self._feed, about))
