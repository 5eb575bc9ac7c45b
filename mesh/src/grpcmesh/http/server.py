"""An ASGI app on a port of its own, in a loop that has other work: no signal handlers, no logging setup."""

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

#: Seconds that a request under way may take when the server closes.
CLOSE_TIMEOUT = 1

_Message = MutableMapping[str, Any]
Asgi = Callable[
    [_Message, Callable[[], Awaitable[_Message]], Callable[[_Message], Awaitable[None]]], Awaitable[None]
]


def bounded(
    app: Asgi, limits: HttpLimits | None = None, proxies: Proxies | None = None, grace: int = CLOSE_TIMEOUT
) -> uvicorn.Config:
    """A configuration of uvicorn under which no client can hold the server up.

    Args:
        app: The app; it gets no lifespan events.
        limits: Of what a client may take.
        proxies: The peers that may say whom they speak for, by a line of the PROXY protocol.
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
        app: The app; it gets no lifespan events.
        address: `host:port`; port 0 takes a free one.
        what: Names the port in errors, such as `admin`.
        limits: Of what a client may take.
    """

    def __init__(self, app: Asgi, address: str, what: str, limits: HttpLimits | None = None) -> None:
        self._app, self._address, self._what, self._limits = app, address, what, limits
        self._socket: socket.socket | None = None
        self._server: uvicorn.Server | None = None
        self._ticks: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port it listens on."""
        if self._socket is None:
            raise RuntimeError(f"the {self._what} server is not started")
        return int(self._socket.getsockname()[1])

    def listen(self) -> None:
        """Take the port, without serving yet.

        Raises:
            OSError: the address is taken or not ours; its text names it.
        """
        if self._socket is None:
            self._socket = _listen(self._address, self._what)

    async def start(self) -> None:
        """Listen (OSError as `listen`) and serve."""
        self.listen()
        config = bounded(self._app, self._limits)
        config.load()
        # The steps of uvicorn.Server.serve() without its signal handlers: signals belong to the process.
        self._server = uvicorn.Server(config)
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup(sockets=[self._socket] if self._socket else [])
        self._ticks = asyncio.create_task(self._server.main_loop(), name=f"{self._what}-http")

    async def aclose(self) -> None:
        """Stop serving; requests under way get a second to end."""
        if self._server is not None and self._ticks is not None:
            self._server.should_exit = True
            await self._ticks
            await self._server.shutdown(sockets=[])
        if self._socket is not None:
            self._socket.close()
        self._server = self._ticks = self._socket = None


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
