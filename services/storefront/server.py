"""Serves the application over HTTP inside the mesh's process: uvicorn without its own signals or logs."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from types import TracebackType
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from grpcmesh.http import HttpLimits, Proxies, bounded


class _Quiet(uvicorn.Server):
    """A uvicorn server that leaves the process's signals to the mesh's runtime."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """An async context manager that serves HTTP inside the block and drains at its end.

    Args:
        app: The application.
        host, port: The address to listen on; port 0 takes any free one.
        closing: Set at the end, before waiting for requests in flight: it ends the streams.
        grace: Seconds that requests in flight may take after that.
        limits: Bounds of what a client may use.
        proxies: The peers that may name the client they forward for.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        port: int,
        closing: asyncio.Event,
        grace: float,
        limits: HttpLimits | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        self._host, self._port, self._closing, self._grace = host, port, closing, grace
        self._server = _Quiet(bounded(app, limits, proxies, max(1, round(grace))))
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """Return the port on which it listens, once entered."""
        return self._port

    async def __aenter__(self) -> Self:
        """Start to listen. Raises OSError if the address is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=512)
        self._port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        return self

    async def watch(self) -> None:
        """Wait for the end of the server. Raises RuntimeError if it ends before it was told to."""
        assert self._task is not None
        await asyncio.wait({self._task})
        if not self._closing.is_set():
            raise RuntimeError("the HTTP server has stopped by itself")

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.should_exit = True
        assert self._task is not None
        try:
            # uvicorn cancels what is left after the grace; this bounds even a failure of that.
            await asyncio.wait_for(self._task, self._grace + 5)
        except TimeoutError:
            self._server.force_exit = True
