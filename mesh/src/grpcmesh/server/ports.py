"""Opens the ports of a process, with errors that say why one cannot be opened. Serves the health port."""

import socket
from collections.abc import Iterable

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from grpcmesh.call import Purpose
from grpcmesh.clock import monotonic
from grpcmesh.config import HealthConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.server import accept
from grpcmesh.server.front import Front
from grpcmesh.server.handlers import Handlers
from grpcmesh.server.options import HEALTH_PORT
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Running


class StartError(Exception):
    """Raised if the process cannot start. The message is one line."""


class HealthPort:
    """The plaintext port for probes. It serves health and nothing else.

    Args:
        config: Address and limits.
        health: The health servicer, shared with the mesh server.
    """

    def __init__(self, config: HealthConfig, health: HealthServicer) -> None:
        self.port = 0
        self._config, self._health = config, health
        self._running = Running()
        self._front: Front | None = None
        self._server: grpc.aio.Server | None = None
        self._accepting = accept.Accepting("the health port", health.leave)

    async def accept_loop_ended(self) -> None:
        """Wait until the port is stopped. Raises AcceptLoopEndedError if it has ended without `stop`."""
        await self._accepting.wait()

    async def start(self) -> None:
        """Begin to listen. Raises StartError if the address cannot be listened on."""
        handlers = Handlers(self._running)
        self._health.register(handlers.registrar(Purpose.MESH))
        handlers.seal({purpose: Stack((), purpose=purpose) for purpose in Purpose})
        listening = bind(self._config.address)
        self.port = listening.getsockname()[1]
        self._front = Front(self._config, listening, monotonic)
        server = grpc.aio.server(handlers=[handlers], options=HEALTH_PORT)
        server.add_insecure_port(self._front.target)
        await self._accepting.start(server)
        self._server = server
        await self._front.start()

    def collect(self) -> Iterable[Metric]:
        """Yield the number of refused connections."""
        text = "Connections to the plaintext health port that were closed because there were too many."
        refused = self._front.refused if self._front else 0
        yield CounterMetricFamily("mesh_health_port_refused", text, value=refused)

    async def stop(self) -> None:
        """Stop the port. Health watches get an error that tells them to resume elsewhere."""
        for stream in list(self._running.streams):
            stream.interrupt()
        self._accepting.stopping = True
        if self._server is not None:
            await self._server.stop(0.5)
        if self._front is not None:
            await self._front.aclose()


def listen(server: grpc.aio.Server, address: str, identity: IdentityStore | None) -> int:
    """Open a port of a server, and return its number.

    Args:
        server: The server.
        address: Host and port; port 0 takes a free one.
        identity: Our certificates. If None, the port is plaintext.

    Raises:
        StartError: The address cannot be listened on. The message holds the address and the reason.
    """
    bind(address).close()  # grpc does not say why it cannot listen; a socket does
    try:
        if identity is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, identity.server_credentials())
    except RuntimeError as e:
        raise StartError(f"cannot listen on {address}") from e


def bind(address: str) -> socket.socket:
    """Return a socket that listens on an address.

    Raises:
        StartError: The address cannot be listened on. The message holds the address and the reason.
    """
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, ValueError) as e:
        raise _cannot_listen(address, e) from e
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(where)
        listening.listen(128)
    except OSError as e:
        listening.close()
        raise _cannot_listen(address, e) from e
    return listening


def _cannot_listen(address: str, error: Exception) -> StartError:
    return StartError(f"cannot listen on {address}: {getattr(error, 'strerror', None) or error}")
