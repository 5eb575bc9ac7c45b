"""The control socket: a request is one JSON line; the answer is lines of progress and one of result
or error.
"""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from local.errors import ClusterError, describe
from local.events import Report

_REQUEST_TIMEOUT = 5.0
_LINGER = 2.0
Handle = Callable[[dict[str, Any], Report], Awaitable[Any]]
"""Handles a request. Raises ClusterError if it fails."""


class ControlServer:
    """Listens on a Unix socket that only its owner may open.

    A client that disconnects does not stop what it began.

    Args:
        path: The path of the socket. One that a dead supervisor left is replaced.
        handle: Called for each request.
    """

    def __init__(self, path: Path, handle: Handle) -> None:
        self._path, self._handle = path, handle
        self._server: asyncio.Server | None = None
        self._requests: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. The caller holds the lock, so no other supervisor uses the socket."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        self._path.chmod(0o600)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._requests.add(task)
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                line = await reader.readline()
            if line:
                await self._answer(line, writer)
        except (OSError, TimeoutError, ValueError):
            pass  # the client is gone
        finally:
            self._requests.discard(task)
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        def send(message: dict[str, Any]) -> None:
            if not writer.is_closing():
                writer.write(json.dumps(message).encode() + b"\n")

        try:
            result = await self._handle(_parse(line), lambda text: send({"progress": text}))
            send({"result": result})
        except ClusterError as e:
            send({"error": str(e), "detail": e.detail})
        except OSError as e:
            send({"error": describe(e), "detail": ""})
        await writer.drain()

    async def aclose(self) -> None:
        """Let running requests finish for up to two seconds, then remove the socket."""
        if self._server:
            self._server.close()
        if self._requests:
            await asyncio.wait(self._requests, timeout=_LINGER)
        remaining = list(self._requests)
        for task in remaining:
            task.cancel()
        await asyncio.gather(*remaining, return_exceptions=True)
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        request = json.loads(line)
    except ValueError as e:
        raise ClusterError(f"not a request: {e}") from e
    if not isinstance(request, dict):
        raise ClusterError("not a request: no object")
    return request
