"""Replicas of one service behind real mutual TLS, the shop's own policy, and tokens of users."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mesh.auth import StaticKeys, TokenIssuer, TokenVerifier
from mesh.authz import PolicyStore
from mesh.channel import MeshChannel
from mesh.config import (
    AuthConfig,
    AuthzConfig,
    BalancerConfig,
    DrainConfig,
    IdentityConfig,
    MeshConfig,
    TelemetryConfig,
)
from mesh.health.servicer import HealthServicer
from mesh.identity import IdentityStore
from mesh.server import MeshServer, server_layers
from mesh.telemetry import Telemetry
from mesh.testing.ca import CertificateAuthority, write_atomically
from mesh.testing.resolver import FakeResolver

POLICY = Path(__file__).parents[3] / "services" / "policy.toml"
Metadata = tuple[tuple[str, str], ...]


class Replicas:
    """A service's replicas and its callers' channels.

    Args:
        directory: For certificates.
        service: Its name.
    """

    def __init__(self, directory: Path, service: str) -> None:
        self._directory, self._service = directory, service
        self._ca, self._key = CertificateAuthority(), Ed25519PrivateKey.generate()
        self._resolver = FakeResolver()
        self._channels: list[MeshChannel] = []
        self.servers: list[MeshServer] = []

    async def start(self, add: Callable[[Any, Any], None], servicer: Any) -> MeshServer:
        """One more replica, which callers find at once."""
        config = MeshConfig(
            self._service,
            replica=f"{self._service}-{len(self.servers) + 1}",
            address="127.0.0.1:0",
            authz=AuthzConfig(POLICY),
            drain=DrainConfig(delay=0.05, grace=2, stream_grace=0.05),
            telemetry=TelemetryConfig(access_log="off"),
        )
        identity, policy, health = self._identity(self._service), PolicyStore(config.authz), HealthServicer()
        policy.load()
        verifier = TokenVerifier(AuthConfig(), StaticKeys({"k": self._key.public_key()}))
        await verifier.start(5.0)
        layers = server_layers(config, Telemetry(config), policy, verifier, identity)
        server = MeshServer(config, identity=identity, layers=layers, health=health)
        add(servicer, server)
        await server.start()
        health.set_all(True)
        self.servers.append(server)
        self._resolve()
        return server

    async def leave(self, server: MeshServer) -> None:
        """A replica goes as it goes in a rolling restart."""
        self.servers.remove(server)
        self._resolve()
        await server.drain()

    def channel(self, workload: str) -> grpc.aio.Channel:
        """A mesh channel of a workload to all replicas."""
        config = MeshConfig(workload, balancer=BalancerConfig(slow_start=0.0))
        channel = MeshChannel(
            self._service, config, identity=self._identity(workload), resolver=self._resolver
        )
        self._channels.append(channel)
        return channel

    def direct(self, workload: str, server: MeshServer) -> grpc.aio.Channel:
        """A bare channel of a workload to one replica, to be closed by the caller."""
        leaf = self._ca.issue(workload)
        credentials = grpc.ssl_channel_credentials(self._ca.pem, leaf.tls_key, leaf.tls_crt)
        options = (
            ("grpc.ssl_target_name_override", self._service),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
            ("grpc.enable_retries", 0),
        )
        return grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options)

    def user(self, user_id: int, roles: Iterable[str] = ("user",)) -> Metadata:
        """The metadata of a user's call."""
        token = TokenIssuer(self._key, "k", AuthConfig()).issue(user_id, f"user {user_id}", roles, 300)
        return (("authorization", f"Bearer {token}"),)

    async def stop(self) -> None:
        """Ends everything."""
        for channel in self._channels:
            await channel.close(0)
        for server in self.servers:
            await server.stop(0)

    def _resolve(self) -> None:
        self._resolver.set(*(f"127.0.0.1:{server.port}" for server in self.servers))

    def _identity(self, workload: str) -> IdentityStore:
        directory = self._directory / workload
        if not directory.exists():
            write_atomically(directory, self._ca.issue(workload).files())
        store = IdentityStore(IdentityConfig(directory))
        store.load()
        return store
