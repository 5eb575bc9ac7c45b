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
    """The runtime of the mesh owns the process's signals."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class HttpServer:
    """An async context manager: serves inside, drains at the end.

    Args:
        app: What to serve.
        host, port: Where; port 0 is any free one.
        closing: Set when leaving, before waiting for requests: it ends the streams.
        grace: Seconds that running requests may take after that.
        limits: Of what a client may take.
        proxies: May say whom they speak for.
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
        """Where it listens, once entered."""
        return self._port

    async def __aenter__(self) -> Self:
        """Raises OSError when the address is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.create_server((self._host, self._port), family=family, backlog=512)
        self._port = listener.getsockname()[1]
        self._task = asyncio.create_task(self._server.serve(sockets=[listener]), name="http")
        return self

    async def watch(self) -> None:
        """Waits for the end. Raises RuntimeError if it comes before it was asked for."""
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
