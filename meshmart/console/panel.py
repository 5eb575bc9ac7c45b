"""The routes of the traces, log lines, settings and longer charts of a choice. Each is read on demand."""

import os
from collections.abc import Awaitable, Callable, Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from local.catalog import NAMESPACE
from meshmart.console import edges, log_lines, prometheus, settings, traces
from meshmart.console.choice import Choice, find
from meshmart.console.poller import Poller
from meshmart.console.reads import OnDemand, Reads

_Reader = Callable[[Choice], Awaitable[bytes]]
#: The variable with the namespace of the mesh.
_NAMESPACE = "MESH_NAMESPACE"


def routes(poller: Poller, cluster: log_lines.Cluster, reads: Reads) -> Sequence[Route]:
    """Return the routes. Each takes a choice as `name` of the query, as `/api/history` does.

    Args:
        poller: What is known of the mesh, and of the servers beside it.
        cluster: Where the logs are.
        reads: Reads on demand.
    """
    panel = _Panel(poller, cluster)

    def route(path: str, reader: Callable[[Request], _Reader | None]) -> Route:
        async def endpoint(request: Request) -> Response:
            name = request.query_params.getlist("name")
            choice, read = find(poller.observer, name), reader(request)
            if choice is None or read is None:
                return PlainTextResponse("no such service, replica, edge or range\n", 404)
            poller.select(watched.name for watched in choice.replicas)
            key = (path, request.query_params.get("hours", ""), *name)
            return OnDemand(reads, key, lambda: read(choice))

        return Route(path, endpoint)

    return [
        route("/api/settings", lambda _: settings.read),
        route("/api/logs", lambda _: panel.logs),
        route("/api/traces", lambda _: panel.traces),
        route("/api/range", panel.range),
    ]


class _Panel:
    """Reads each part of the panel from its source."""

    def __init__(self, poller: Poller, cluster: log_lines.Cluster) -> None:
        self._poller, self._cluster = poller, cluster
        self._namespace = os.environ.get(_NAMESPACE, NAMESPACE)

    async def logs(self, choice: Choice) -> bytes:
        callee = find(self._poller.observer, [choice.target])
        return await log_lines.read(self._cluster, choice, callee.replicas if callee else ())

    async def traces(self, choice: Choice) -> bytes:
        return await traces.read(self._poller.servers.get("traces", ""), choice)

    def range(self, request: Request) -> _Reader | None:
        """Return a function that reads the range of hours in the request; None if there is no such range."""
        hours = {str(h): h for h in prometheus.RANGES}.get(request.query_params.get("hours", ""))
        server = self._poller.servers.get("prometheus")
        if hours is None or not server:
            return None

        async def read(choice: Choice) -> bytes:
            provided = edges.provided(self._poller.observer.watched.values())
            called = [name for name, service in provided.items() if service == choice.target]
            now = self._poller.wall()
            return await prometheus.read(server, self._namespace, choice, hours, now, called)

        return read
