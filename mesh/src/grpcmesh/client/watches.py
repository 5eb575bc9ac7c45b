"""The streams that a connection keeps open to watch its server: health and load reports."""

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

#: Seconds to wait for the health of the services before the health of the process is watched.
_SERVICES_FIRST = 1.0


@dataclass(frozen=True, slots=True)
class Wanted:
    """Says what to watch at each endpoint of a target.

    Args:
        health: The service whose health decides whether the endpoint is ready; "" is the whole process. If
            None, health is not watched.
        services: Services whose health decides only about calls to them.
        reports: Seconds between two out-of-band load reports; None asks for none.
    """

    health: str | None = ""
    services: frozenset[str] = frozenset()
    reports: float | None = None


class WatchListener(Protocol):
    """Receives what a server reports besides the health of the whole endpoint."""

    def initial_metadata(self, metadata: Any) -> None:
        """Handle the initial metadata of a health watch, in which the server describes itself."""

    def service(self, name: str, serving: bool) -> None:
        """Handle a report of one service's health."""

    def reported(self, report: LoadReport) -> None:
        """Handle an out-of-band load report."""

    def reports_ended(self) -> None:
        """Handle the end of the reports: the stream has ended, or the server does not offer them."""


class Watches:
    """The streams on which one server is watched. `stop` ends all of them.

    Args:
        channel: A connected channel.
        tasks: Owns the streams, and restarts one that fails.
        on_health: Called with the health that decides whether the endpoint is ready.
        on_error: Called with the reason, in one line, when that health cannot be watched.
        listener: Receives everything else.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        tasks: Tasks,
        on_health: Callable[[bool], None],
        on_error: Callable[[str], None],
        listener: WatchListener,
    ) -> None:
        self._channel, self._tasks, self._listener = channel, tasks, listener
        self._on_health, self._on_error = on_health, on_error
        self._running: dict[Hashable, asyncio.Task[None]] = {}
        self._services: frozenset[str] = frozenset()

    def follow(self, wanted: Wanted) -> None:
        """Start the streams that are wanted and do not run, and stop those no longer wanted."""
        runs = self._runs(wanted)
        for key in self._running.keys() - runs.keys():
            self._running.pop(key).cancel()
        for name in self._services - wanted.services:
            self._listener.service(name, True)  # what it last said must not outlast the watch
        self._services = wanted.services
        for key, (run, name) in runs.items():
            if key not in self._running:
                self._running[key] = self._tasks.supervise(run, name)

    def stop(self) -> None:
        """Stop all streams."""
        for task in self._running.values():
            task.cancel()
        self._running.clear()

    def _runs(self, wanted: Wanted) -> dict[Hashable, tuple[Callable[[], Coroutine[Any, Any, None]], str]]:
        listener: WatchListener = self._listener
        runs: dict[Hashable, tuple[Callable[[], Coroutine[Any, Any, None]], str]] = {}
        services = [self._service(name) for name in sorted(wanted.services)]
        for watcher in services:
            runs["service", watcher.service] = (watcher.run, "service health watch")
        if wanted.health is not None:
            process = HealthWatcher(
                self._channel,
                self._on_health,
                self._on_error,
                listener.initial_metadata,
                service=wanted.health,
            )
            runs["health", wanted.health] = (partial(_after, services, process), "health watch")
        if wanted.reports is not None:
            reports = OobReports(self._channel, wanted.reports, listener.reported)
            runs["reports", wanted.reports] = (partial(self._reports, reports), "load reports")
        return runs

    def _service(self, name: str) -> HealthWatcher:
        # A server that does not know the service, or cannot be asked, is judged as a whole.
        return HealthWatcher(
            self._channel, partial(self._listener.service, name), _ignore, service=name, unknown=True
        )

    async def _reports(self, reports: OobReports) -> None:
        try:
            await reports.run()
        finally:
            self._listener.reports_ended()


async def _after(services: list[HealthWatcher], process: HealthWatcher) -> None:
    """Watch the process once each service has reported, because the process's health makes it ready."""
    try:
        async with asyncio.timeout(_SERVICES_FIRST):
            for watcher in services:
                await watcher.heard.wait()
    except TimeoutError:
        pass
    await process.run()


def _ignore(error: str) -> None:
    """Ignore the failure of a service's watch: the last report stays, and the watch is restarted."""
