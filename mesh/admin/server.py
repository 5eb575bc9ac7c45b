"""AdminServer: a small HTTP server beside the mesh server, in the same loop."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from typing import Any

import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from mesh.admin.page import render
from mesh.config import AdminConfig

State = Callable[[], Mapping[str, Any]]

#: Seconds that a request under way may take when the server closes.
CLOSE_TIMEOUT = 1


class AdminServer:
    """Serves `/metrics`, `/` and `/state.json`.

    Args:
        config: Where to listen; port 0 takes a free one.
        registry: What `/metrics` shows.
        state: What the page shows: `service`, `replica`, `certificate` (`serial`, `not_after` in unix
            seconds, `workload`), `targets` (each a `MeshChannel.state()`); other keys are shown as they are.
    """

    def __init__(self, config: AdminConfig, registry: CollectorRegistry, state: State) -> None:
        self._address = config.address
        self._app = admin_app(registry, state)
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._ticks: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._socket is None:
            raise RuntimeError("the admin server is not started")
        return int(self._socket.getsockname()[1])

    async def start(self) -> None:
        """Listens and serves.

        Raises:
            OSError: the address is taken or not ours; its text names it.
        """
        self._socket = _listen(self._address)
        config = uvicorn.Config(
            self._app, log_config=None, access_log=False, lifespan="off", ws="none", server_header=False,
            timeout_graceful_shutdown=CLOSE_TIMEOUT,
        )  # fmt: skip
        config.load()
        # The steps of uvicorn.Server.serve() without its signal handlers: signals belong to the runtime.
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._socket])
        self._ticks = asyncio.create_task(self._server.main_loop(), name="admin-http")

    async def aclose(self) -> None:
        """Stops serving; a request under way gets a second to end."""
        if self._server is None or self._ticks is None:
            return
        self._server.should_exit = True
        await self._ticks
        await self._server.shutdown(sockets=[self._socket] if self._socket else [])
        self._server = self._ticks = self._socket = None


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


def _listen(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise OSError(error.errno, f"admin port {address}: {reason}") from error
    except ValueError as error:
        raise OSError(f"admin address {address!r}: not host:port") from error
