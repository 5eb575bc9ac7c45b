"""AdminServer: a small HTTP server beside the mesh server, in the same loop."""

from collections.abc import Callable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from grpcmesh.admin.page import render
from grpcmesh.config import AdminConfig
from grpcmesh.http import HttpServer

State = Callable[[], Mapping[str, Any]]


class AdminServer(HttpServer):
    """Serves `/metrics`, `/` and `/state.json`.

    Args:
        config: Where to listen; port 0 takes a free one.
        registry: What `/metrics` shows.
        state: What the page shows: `service`, `replica`, `certificate` (`serial`, `not_after` in unix
            seconds, `workload`), `targets` (each a `MeshChannel.state()`); other keys are shown as they are.
    """

    def __init__(self, config: AdminConfig, registry: CollectorRegistry, state: State) -> None:
        super().__init__(admin_app(registry, state), config.address, "admin")


def admin_app(registry: CollectorRegistry, state: State) -> Starlette:
    """The routes, without a port: for tests and for mounting elsewhere."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        # choose_encoder's type already names the charset; Starlette must not add another.
        return Response(encode(registry), headers={"content-type": content_type})

    async def state_json(request: Request) -> Response:
        return JSONResponse(dict(state()))

    async def page(request: Request) -> Response:
        return HTMLResponse(render(state()))

    return Starlette(
        routes=[Route("/metrics", metrics), Route("/state.json", state_json), Route("/", page)],
    )
