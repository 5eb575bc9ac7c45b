"""A proxy in front of the plaintext health port. Anybody may connect, so each address has limits.

gRPC has limits per port and per connection, but none per peer, and no limit on the rate of frames. A probe
needs one connection and about 300 bytes. So connections are accepted here, and their bytes are forwarded to
grpc, which listens on a socket that only this process uses.
"""

import asyncio
import contextlib
import platform
import secrets
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpcmesh.clock import Clock
from grpcmesh.config import HealthConfig
from grpcmesh.rates import PeerRates

#: Bytes that a connection may always send, whatever its address has sent before. They suffice for one probe,
#: so that a probe succeeds beside a flood from the same address. It is also the size of the read buffer.
FREE = 512
#: Connections that an address may open: per second, and in a burst.
CONNECTS, CONNECTS_BURST = 100, 200
#: Bytes that an address may send in a burst, beyond its rate.
BURST = 64 * 1024
#: Seconds that a connection may be open without having sent anything.
SILENCE = 5.0
_ABSTRACT = platform.system() == "Linux"
#: The most bytes buffered for a peer that does not read, or for grpc, before reading from the other side
#: pauses.
BUFFER = 64 * 1024


class Front:
    """Accepts connections, and forwards their bytes to grpc within the limits of their address.

    Args:
        config: The limits.
        listening: A socket that is bound and listens.
        clock: Monotonic seconds.
    """

    def __init__(self, config: HealthConfig, listening: socket.socket, clock: Clock) -> None:
        self._config, self._listening = config, listening
        self._directory = contextlib.ExitStack()
        #: The address that grpc listens on, in grpc's form.
        self.target, self._path = self._inner()
        self.rates = PeerRates(config.bytes_per_second, BURST, clock)
        self._connects = PeerRates(CONNECTS, CONNECTS_BURST, clock)
        self.tasks: set[asyncio.Task[None]] = set()
        #: The open connections of each address, the oldest first.
        self._open: dict[str, dict[Inbound, None]] = {}
        self._server: asyncio.Server | None = None
        #: Number of connections that were closed because there were too many.
        self.refused = 0

    async def start(self) -> None:
        """Begin to accept connections. grpc has to listen already."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Inbound(self), sock=self._listening)

    async def aclose(self) -> None:
        """Stop accepting connections, and close the open ones."""
        if self._server is not None:
            self._server.close()
        for connections in list(self._open.values()):
            for connection in list(connections):
                connection.abort()
        if self.tasks:
            await asyncio.wait(self.tasks)
        self._directory.close()

    def enter(self, connection: "Inbound") -> bool:
        """Register a new connection. Return False if there is no room for it."""
        if not self._connects.take(connection.host):
            self.refused += 1
            return False
        own = self._open.get(connection.host, {})
        if len(own) >= self._config.max_connections_per_peer:
            self.refused += 1
            next(iter(own)).abort()  # the oldest: a probe that comes now gets through
        elif sum(map(len, self._open.values())) >= self._config.max_connections:
            self.refused += 1
            return False
        self._open.setdefault(connection.host, {})[connection] = None
        return True

    def leave(self, connection: "Inbound") -> None:
        """Remove a connection that is closed."""
        own = self._open.get(connection.host, {})
        own.pop(connection, None)
        if not own:
            self._open.pop(connection.host, None)

    def connect(self) -> socket.socket:
        """Return a socket connected to grpc. Raises OSError if grpc accepts no connection."""
        inner = socket.socket(socket.AF_UNIX)
        try:
            inner.setblocking(False)
            inner.connect(self._path)
        except OSError:
            inner.close()
            raise
        return inner

    def _inner(self) -> tuple[str, str]:
        if _ABSTRACT:  # needs no directory that can be written to
            name = f"grpcmesh-health-{secrets.token_hex(8)}"
            return f"unix-abstract:{name}", f"\0{name}"
        path = str(Path(self._directory.enter_context(tempfile.TemporaryDirectory())) / "health")
        return f"unix:{path}", path


class Half(asyncio.BaseProtocol):
    """One side of a connection. It forwards what it receives to the other side, which may pause it."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.other: Half | None = None
        self._holds: set[str] = set()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.set_write_buffer_limits(high=BUFFER)

    def forward(self, data: bytes) -> None:
        """Send bytes to the other side."""
        if self.other is not None and self.other.transport is not None:
            self.other.transport.write(data)

    def pause_writing(self) -> None:
        if self.other is not None:
            self.other.hold("buffer")

    def resume_writing(self) -> None:
        if self.other is not None:
            self.other.release("buffer")

    def connection_lost(self, exc: Exception | None) -> None:
        other, self.other = self.other, None
        if other is not None:
            other.close()

    def close(self) -> None:
        """Close the connection once the data written so far has been sent."""
        if self.transport is not None:
            self.transport.close()

    def hold(self, reason: str) -> None:
        """Add a reason to pause reading."""
        self._holds.add(reason)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.pause_reading()

    def release(self, reason: str) -> None:
        """Remove a reason to pause. Reading resumes when there is none left."""
        self._holds.discard(reason)
        if not self._holds and self.transport is not None and not self.transport.is_closing():
            self.transport.resume_reading()


class Outbound(Half, asyncio.Protocol):
    """The connection to grpc."""

    def data_received(self, data: bytes) -> None:
        self.forward(data)


class Inbound(Half, asyncio.BufferedProtocol):
    """The connection of the peer. It reads at most `FREE` bytes at a time, and enforces the limits."""

    def __init__(self, front: Front) -> None:
        super().__init__()
        self.front, self.host = front, ""
        self._received, self._buffer, self._early = 0, bytearray(FREE), bytearray()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.host = str((transport.get_extra_info("peername") or ("",))[0])
        if not self.front.enter(self):
            transport.abort()
            return
        self.hold("connecting")
        self._later(SILENCE, self._silent)
        task = self._loop.create_task(self._connect(), name="health port connection")
        self.front.tasks.add(task)
        task.add_done_callback(self.front.tasks.discard)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self.other is None:  # uvloop reads once in spite of a pause in `connection_made`
            self._early += self._buffer[:nbytes]
            self.hold("connecting")
        else:
            self.forward(bytes(self._buffer[:nbytes]))
        free = max(0, FREE - self._received)
        self._received += nbytes
        paid = max(0, nbytes - free)
        wait = self.front.rates.wait(self.host, paid) if paid else 0.0
        if wait:
            self.hold("rate")
            self._later(wait, self.release, "rate")

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.front.leave(self)
        if self._timer is not None:
            self._timer.cancel()

    def abort(self) -> None:
        """Close the connection at once, without sending buffered data."""
        self.front.leave(self)
        if self.transport is not None:
            self.transport.abort()

    async def _connect(self) -> None:
        outbound = Outbound()
        outbound.other = self
        try:
            await self._loop.create_unix_connection(lambda: outbound, sock=self.front.connect())
        except OSError:  # grpc accepts no more for now
            self.abort()
            return
        if self.transport.is_closing():
            outbound.close()
            return
        self.other = outbound
        self.forward(bytes(self._early))
        self._early.clear()
        self.release("connecting")

    def _silent(self) -> None:
        if not self._received:
            self.abort()

    def _later(self, seconds: float, function: Callable[..., None], *arguments: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, function, *arguments)
