"""Serves an ASGI app on its own port in an existing event loop, without signal handlers or logging setup."""

import asyncio
import functools
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, cast

import uvicorn

from grpcmesh.http.limits import HttpLimits, Registry
from grpcmesh.http.peers import Proxies
from grpcmesh.http.protocol import BoundedProtocol

#: Seconds that requests under way may take when the server closes.
CLOSE_TIMEOUT = 1

_Message = MutableMapping[str, Any]
Asgi = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]


def bounded(
    app: Asgi, limits: HttpLimits | None = None, proxies: Proxies | None = None, grace: int = CLOSE_TIMEOUT
) -> uvicorn.Config:
    """Return a configuration of uvicorn with which no client can block the server.

    Args:
        app: The app. It gets no lifespan events.
        limits: Limits for clients.
        proxies: The proxies that may name their client in a line of the PROXY protocol.
        grace: Seconds that requests under way may take when the server closes.
    """
    limits = limits or HttpLimits()
    protocol = functools.partial(
        BoundedProtocol, limits=limits, registry=Registry(limits), proxies=proxies or Proxies()
    )
    return uvicorn.Config(
        cast(Any, app),
        http=cast(type[asyncio.Protocol], protocol),
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",  # at "warning", each malformed request would write a line
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=max(1, round(limits.keep_alive)),
        timeout_graceful_shutdown=grace,
    )


class HttpServer:
    """Serves an ASGI app.

    Args:
        app: The app. It gets no lifespan events.
        address: `host:port`; port 0 takes a free one.
        what: Name of the port in errors, such as `admin`.
        limits: Limits for clients.
    """

    def __init__(self, app: Asgi, address: str, what: str, limits: HttpLimits | None = None) -> None:
        self._app, self._address, self._what, self._limits = app, address, what, limits
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._ticks: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Return the port that the server listens on. Raises RuntimeError before `listen`."""
        if self._socket is None:
            raise RuntimeError(f"the {self._what} server is not started")
        return int(self._socket.getsockname()[1])

    def listen(self) -> None:
        """Bind the port, without serving yet. Idempotent.

        Raises:
            OSError: The address cannot be listened on. The message names it.
        """
        if self._socket is None:
            self._socket = _listen(self._address, self._what)

    async def start(self) -> None:
        """Bind the port if need be, and begin to serve. Raises OSError as `listen` does."""
        self.listen()
        config = bounded(self._app, self._limits)
        config.load()
        # The steps of uvicorn.Server.serve() without its signal handlers: signals belong to the process.
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._socket] if self._socket else [])
        self._ticks = asyncio.create_task(_tick(self._server), name=f"{self._what}-http")

    async def aclose(self) -> None:
        """Stop serving. Requests under way get `CLOSE_TIMEOUT` seconds to end."""
        if self._server is not None and self._ticks is not None:
            self._ticks.cancel()
            await asyncio.wait([self._ticks])
            await self._server.shutdown(sockets=[])
        if self._socket is not None:
            self._socket.close()
        self._server = self._ticks = self._socket = None


async def _tick(server: uvicorn.Server) -> None:
    """Keep the Date header current, until cancelled. uvicorn's own loop wakes up ten times a second."""
    while True:
        await server.on_tick(0)
        await asyncio.sleep(1)


def _listen(address: str, what: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host.strip("[]"), int(port)), family=family, backlog=128)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise OSError(error.errno, f"{what} port {address}: {reason}") from error
    except (ValueError, OverflowError) as error:
        raise OSError(f"{what} address {address!r}: not host:port") from error
