"""The entry for people: one address, forwarded to the ready web replicas like an Ingress."""

import asyncio
import enum
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from grpcmesh.http import HttpLimits
from grpcmesh.http.limits import Registry
from local.errors import ClusterError, describe

Backend = tuple[str, int]
_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_CHUNK = 64 * 1024
_CONNECT_TIMEOUT = 1.0


class State(enum.Enum):
    """The state of a client's connection."""

    HEAD = enum.auto()  # its first request is not complete: it may be evicted
    FORWARDED = enum.auto()  # a replica serves it, with deadlines of its own
    GONE = enum.auto()


@dataclass(eq=False)
class Visitor:
    """A client's connection in the registry."""

    address: str
    port: int
    task: "asyncio.Task[None]"
    state: State = State.HEAD

    @property
    def evictable(self) -> bool:
        return self.state is State.HEAD

    def evict(self) -> None:
        self.state = State.GONE
        self.task.cancel()


class Forwarder:
    """Forwards TCP connections to the ready replicas, in rotation.

    A replica that drains gets no new connections and finishes those that it has, so a restart of all replicas
    refuses nobody. A replica gets a connection only when the header of its first request is complete. A line
    of the PROXY protocol names the client, so that the replica can bound each client.

    Args:
        backends: Returns the ready replicas.
        limits: Bounds of what a client may use. By default half as many connections as an HTTP server
            accepts, because each needs two file descriptors.
    """

    def __init__(self, backends: Callable[[], Sequence[Backend]], limits: HttpLimits | None = None) -> None:
        most = HttpLimits().connections // 2
        self._limits = limits or replace(HttpLimits(), max_connections=most, max_per_address=most * 3 // 4)
        self._registry = Registry(self._limits)
        self._backends = backends
        self._server: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self._turn = 0
        self.port = 0

    def bind(self, port: int, host: str = "127.0.0.1") -> None:
        """Bind the port, so that it is reserved before anything is started.

        Raises:
            ClusterError: the port is taken.
        """
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind((host, port))
            # Listen, too: on Linux two programs can bind a port as long as neither listens.
            s.listen(128)
        except OSError as e:
            s.close()
            raise ClusterError(
                f"port {port} is taken on {host} ({describe(e)}); choose another with --port"
            ) from e
        self._socket, self.port = s, s.getsockname()[1]

    async def start(self) -> None:
        """Serve connections, after `bind`."""
        assert self._socket is not None
        self._server = await asyncio.start_server(
            self._accept, sock=self._socket, limit=self._limits.max_head
        )

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        address, port, *_ = writer.get_extra_info("peername") or ("", 0)
        visitor = Visitor(address, port, task)
        self._connections.add(task)
        try:
            if self._registry.enter(visitor, address):
                await self._serve(visitor, reader, writer)
            else:
                await self._turn_away(visitor, reader, writer)
        except OSError:
            pass  # either side may disconnect
        except (
            asyncio.CancelledError
        ):  # ends here: asyncio.start_server would log that the task was cancelled
            if visitor.state is State.GONE:
                writer.write(_answer("408 Request Timeout", "The request did not come in time."))
        finally:
            self._connections.discard(task)
            self._registry.leave(visitor, address)
            writer.close()

    async def _turn_away(
        self, visitor: Visitor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Refuse a connection, and read its input for a while: a socket closed with unread input loses the
        answer.
        """
        if not self._registry.linger(visitor):
            return
        writer.write(_answer("503 Service Unavailable", "Too many connections."))
        writer.write_eof()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.close_timeout):
                while await reader.read(_CHUNK):
                    pass

    async def _serve(
        self, visitor: Visitor, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            async with asyncio.timeout(self._limits.head_timeout):
                head = await reader.readuntil(b"\r\n\r\n")
        except TimeoutError:
            return writer.write(_answer("408 Request Timeout", "The request did not come in time."))
        except asyncio.LimitOverrunError:
            return writer.write(_answer("431 Request Header Fields Too Large", "That is too much."))
        except asyncio.IncompleteReadError:
            return None
        visitor.state = State.FORWARDED
        upstream = await self._connect()
        if upstream is None:
            words = "No replica of the storefront is ready. Try again in a moment."
            return writer.write(_answer("503 Service Unavailable", words))
        upstream[1].write(_proxy_line(visitor, upstream[1]) + head)
        return await self._pump_both((reader, writer), upstream)

    async def _pump_both(self, client: _Streams, upstream: _Streams) -> None:
        stalled = self._limits.write_timeout
        try:
            async with asyncio.TaskGroup() as group:
                inward = group.create_task(_pump(client[0], upstream[1], stalled))
                # Ends when the replica has sent everything; a client that half-closed still gets the rest.
                await _pump(upstream[0], client[1], stalled)
                inward.cancel()
        finally:
            upstream[1].close()

    async def _connect(self) -> _Streams | None:
        """Connect to a ready replica: try each once, beginning with the next in rotation."""
        backends = list(self._backends())
        self._turn += 1
        for offset in range(len(backends)):
            host, port = backends[(self._turn + offset) % len(backends)]
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(_CONNECT_TIMEOUT):
                    return await asyncio.open_connection(host, port)
        return None

    def close(self) -> None:
        """Stop accepting connections."""
        if self._server:
            self._server.close()
        elif self._socket:
            self._socket.close()

    async def aclose(self) -> None:
        """Stop accepting connections, and end those that are open."""
        self.close()
        connections = list(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


def _proxy_line(visitor: Visitor, upstream: asyncio.StreamWriter) -> bytes:
    """Return the PROXY line, version 1: https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt."""
    host, port, *_ = upstream.get_extra_info("peername")
    family = "TCP6" if ":" in visitor.address else "TCP4"
    return f"PROXY {family} {visitor.address} {host} {visitor.port} {port}\r\n".encode()


def _answer(status: str, words: str) -> bytes:
    body = f"{words}\n".encode()
    head = f"HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nRetry-After: 1\r\nConnection: close\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, stalled: float) -> None:
    """Copy data until the source ends, then signal the end to the sink.

    Args:
        source, sink: The streams to copy from and to.
        stalled: Seconds for which the sink may accept nothing; then its connection is aborted.
    """
    with suppress(OSError):
        while chunk := await source.read(_CHUNK):
            sink.write(chunk)
            try:
                async with asyncio.timeout(stalled):
                    await sink.drain()
            except TimeoutError:
                sink.transport.abort()
                return
    with suppress(OSError):
        if sink.can_write_eof():
            sink.write_eof()
