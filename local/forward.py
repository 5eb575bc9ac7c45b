"""The way in: one address for people, forwarded to the ready web replicas, as an Ingress does."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress

from local.errors import ClusterError, describe

Backend = tuple[str, int]
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT = 1.0
_MAX_CONNECTIONS = 512
_BODY = b"No replica of the storefront is ready. Try again in a moment.\n"
_UNAVAILABLE = (
    b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nRetry-After: 1\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(_BODY), _BODY)
)


class Forwarder:
    """Forwards TCP connections, each to the next ready replica in turn.

    A replica that is drained gets no new connections and finishes those that it has. A restart of all
    replicas refuses nobody.

    Args:
        backends: The ready replicas, as of now.
    """

    def __init__(self, backends: Callable[[], Sequence[Backend]]) -> None:
        self._backends = backends
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.port = 0

    def bind(self, port: int, host: str = "127.0.0.1") -> None:
        """Takes the port, so that it is known to be ours before anything is started.

        Raises:
            ClusterError: when it is taken.
        """
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
            # Listening, too: on Linux two programs can bind a port as long as neither listens.
            s.listen(128)
        except OSError as e:
            s.close()
            raise ClusterError(
                f"port {port} is taken on {host} ({describe(e)}); choose another with --port"
            ) from e
        self._socket, self.port = s, s.getsockname()[1]

    async def start(self) -> None:
        """Serves; `bind` comes first."""
        assert self._socket is not None
        self._server = await asyncio.start_server(self._accept, sock=self._socket)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            if len(self._connections) <= _MAX_CONNECTIONS:
                await self._serve(reader, writer)
        except OSError:
            pass  # either side went away, which is its right
        finally:
            self._connections.discard(task)
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        upstream = await self._connect()
        if upstream is None:
            with suppress(TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    await reader.readuntil(b"\r\n\r\n")
            writer.write(_UNAVAILABLE)
            await writer.drain()
            return
        try:
            async with asyncio.TaskGroup() as group:
                inward = group.create_task(_pump(reader, upstream[1]))
                # Over when the replica has said all; a client that only hung up half still hears the rest.
                await _pump(upstream[0], writer)
                inward.cancel()
        finally:
            upstream[1].close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        """Tries each ready replica once, beginning with the next in turn."""
        backends = list(self._backends())
        self._turn += 1
        for offset in range(len(backends)):
            host, port = backends[(self._turn + offset) % len(backends)]
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    return await asyncio.open_connection(host, port)
        return None

    def close(self) -> None:
        """Accepts no more connections."""
        if self._server:
            self._server.close()
        elif self._socket:
            self._socket.close()

    async def aclose(self) -> None:
        """Ends what is left."""
        self.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    """Copies until the source ends, then passes the end on."""
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            await sink.drain()
    with suppress(OSError):
        if sink.can_write_eof():
            sink.write_eof()
