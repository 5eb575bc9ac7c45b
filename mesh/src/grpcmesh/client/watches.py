"""What a connection follows of its server while it is connected: its health, and its load reports."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import grpc

from grpcmesh.balancer import LoadReport
from grpcmesh.balancer.oob import OobReports
from grpcmesh.health.watcher import HealthWatcher
from grpcmesh.tasks import Tasks

#: Seconds for which the health of the process waits until that of the services is known.
_SERVICES_FIRST = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is followed of each endpoint of a target.

    Args:
        health: The service whose health decides on the endpoint; "" is the whole process. None: none does.
        services: Services whose health decides only on calls of their own.
        reports: Seconds between two load reports out of band; None: there are none.
    """

    health: str | None = ""
    services: frozenset[str] = frozenset()
    reports: float | None = None


class News(Protocol):
    """Who is told what a server says of itself, beside its health."""

    def greeted(self, metadata: Any) -> None:
        """The initial metadata of a health watch: what the server is."""

    def service(self, name: str, serving: bool) -> None:
        """The health of one service."""

    def reported(self, report: LoadReport) -> None:
        """The load, out of band."""

    def reports_ended(self) -> None:
        """There are no more reports: the stream has ended for good, or the server has none."""


class Watches:
    """The streams on which one server is followed. All of them end with `stop`.

    Args:
        channel: Connected.
        tasks: Owns them: one that fails is begun anew.
        on_health: Called with the health that decides on the endpoint.
        on_error: Called with the reason when that cannot be watched, in one line.
        news: Told everything else.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        tasks: Tasks,
        on_health: Callable[[bool], None],
        on_error: Callable[[str], None],
        news: News,
    ) -> None:
        self._channel, self._tasks, self._news = channel, tasks, news
        self._on_health, self._on_error = on_health, on_error
        self._running: dict[Hashable, asyncio.Task[None]] = {}
        self._services: frozenset[str] = frozenset()

    def follow(self, wanted: Wanted) -> None:
        """Begin what is wanted and does not run, and end what runs and is wanted no more."""
        runs = self._runs(wanted)
        for key in self._running.keys() - runs.keys():
            self._running.pop(key).cancel()
        for name in self._services - wanted.services:
            self._news.service(name, True)  # what it last said must not outlast the watch
        self._services = wanted.services
        for key, (run, name) in runs.items():
            if key not in self._running:
                self._running[key] = self._tasks.supervise(run, name)

    def stop(self) -> None:
        """End all of them."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()

    def _runs(self, wanted: Wanted) -> dict[Hashable, tuple[Callable[[], Coroutine[Any, Any, None]], str]]:
        news: News = self._news
        runs: dict[Hashable, tuple[Callable[[], Coroutine[Any, Any, None]], str]] = {}
        services = [self._service(name) for name in sorted(wanted.services)]
        for watcher in services:
            runs["service", watcher.service] = (watcher.run, "service health watch")
        if wanted.health is not None:
            process = HealthWatcher(
                self._channel, self._on_health, self._on_error, news.greeted, service=wanted.health
            )
            runs["health", wanted.health] = (partial(_after, services, process), "health watch")
        if wanted.reports is not None:
            reports = OobReports(self._channel, wanted.reports, news.reported)
            runs["reports", wanted.reports] = (partial(self._reports, reports), "load reports")
        return runs

    def _service(self, name: str) -> HealthWatcher:
        # A server that does not know the service, or cannot be asked, is judged as a whole.
        return HealthWatcher(
            self._channel, partial(self._news.service, name), _ignore, service=name, unknown=True
        )

    async def _reports(self, reports: OobReports) -> None:
        try:
            await reports.run()
        finally:
            self._news.reports_ended()


async def _after(services: list[HealthWatcher], process: HealthWatcher) -> None:
    """Watch the process once the services have been heard of: it is what makes the endpoint ready."""
    try:
        async with asyncio.timeout(_SERVICES_FIRST):
            for watcher in services:
                await watcher.heard.wait()
    except TimeoutError:
        pass
    await process.run()


def _ignore(error: str) -> None:
    """What was last said stays, and the watch is begun anew."""
