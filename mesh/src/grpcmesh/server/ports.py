"""The ports of a process: opened so that a taken one is an error that says why; and that for probes."""

import socket
from typing import Any

import grpc
from grpc_health.v1 import health_pb2_grpc

from grpcmesh.call import Purpose
from grpcmesh.config import HealthConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.server import accept
from grpcmesh.server.handlers import Handlers
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Stream

#: The longest request: gRPC's own default.
MESSAGE_BYTES = 4 * 1024 * 1024
#: Of every server.
OPTIONS = (
    ("grpc.so_reuseport", 0),  # a taken port is an error, not a second server behind it
    ("grpc.http2.max_ping_strikes", 0),  # or long calls of clients with keepalive die of too_many_pings
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # what notices a peer that stands still
    ("grpc.server_handshake_timeout_ms", 5_000),
    ("grpc.enable_channelz", 1),
)


class StartError(Exception):
    """The process cannot start; the message is one line."""


class HealthPort:
    """The plaintext port for probes: health, and nothing else.

    Args:
        config: Where it listens.
        health: Shared with the mesh server.
    """

    def __init__(self, config: HealthConfig, health: HealthServicer) -> None:
        self.port = 0
        self._config, self._health = config, health
        self._streams: set[Stream] = set()
        self._server: grpc.aio.Server | None = None
        self._accepting = accept.Accepting("the health port", health.leave)

    async def accept_loop_ended(self) -> None:
        """Wait until the port is stopped. Raises `AcceptLoopEndedError` if it has ended in another way."""
        await self._accepting.wait()

    async def start(self) -> None:
        """Listens. Raises StartError."""
        handlers = Handlers(self._streams)
        own: Any = handlers.registrar(Purpose.MESH)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, own)
        handlers.seal({purpose: Stack((), purpose=purpose) for purpose in Purpose})
        server = grpc.aio.server(handlers=[handlers], options=OPTIONS)
        self.port = listen(server, self._config.address, None)
        await self._accepting.start(server)
        self._server = server

    async def stop(self) -> None:
        """Stops it; watchers are told to go."""
        for stream in list(self._streams):
            stream.interrupt()
        self._accepting.stopping = True
        if self._server is not None:
            await self._server.stop(0.5)


def listen(server: grpc.aio.Server, address: str, identity: IdentityStore | None) -> int:
    """Opens a port; returns it.

    Raises:
        StartError: with the address and the reason.
    """
    _probe(address)
    try:
        if identity is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, identity.server_credentials())
    except RuntimeError as e:
        raise StartError(f"cannot listen on {address}") from e


def _probe(address: str) -> None:
    """grpc does not say why it cannot bind; a socket does."""
    host, _, port = address.rpartition(":")
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(
            host.strip("[]"), int(port), type=socket.SOCK_STREAM
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
            probe.listen(1)
    except (OSError, ValueError) as e:
        raise StartError(f"cannot listen on {address}: {getattr(e, 'strerror', None) or e}") from e
