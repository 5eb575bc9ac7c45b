"""The mesh in an ASGI application, such as one of Starlette or FastAPI."""

import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

from grpcmesh.clock import monotonic
from grpcmesh.mesh import Mesh
from grpcmesh.telemetry.http import App, Receive, Scope, Send, TraceMiddleware
from grpcmesh.telemetry.http_metrics import HttpMetrics, MetricsMiddleware


def lifespan(mesh: Mesh) -> Callable[[Any], contextlib.AbstractAsyncContextManager[dict[str, Mesh]]]:
    """Return a lifespan that enters the mesh when the application starts, and ends it with the application.

    For `Starlette(lifespan=lifespan(mesh))`. A handler finds the mesh as `request.state.mesh`.

    Raises, when the application starts, what `async with mesh` raises.
    """

    @contextlib.asynccontextmanager
    async def entered(app: Any) -> AsyncIterator[dict[str, Mesh]]:
        async with mesh:
            yield {"mesh": mesh}

    return entered


class MeshMiddleware:
    """An ASGI middleware that traces and measures each HTTP request. Calls of the mesh become its children.

    Args:
        app: The wrapped application.
        mesh: The mesh, whose telemetry is used.
        force: Returns whether to record the trace of a request whatever the sample ratio.
        baggage: Whether to accept and forward a `baggage` header. Do not set it if anybody can send requests.
    """

    def __init__(
        self,
        app: App,
        mesh: Mesh,
        force: Callable[[Scope], bool] = lambda scope: False,
        baggage: bool = False,
    ) -> None:
        metrics = HttpMetrics()
        mesh.telemetry.add(metrics)
        measured = MetricsMiddleware(app, metrics, monotonic)
        self._app = TraceMiddleware(measured, mesh.telemetry.tracer, force, baggage=baggage)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)
