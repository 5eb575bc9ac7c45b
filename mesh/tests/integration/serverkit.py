"""A mesh server on loopback with real mutual TLS, around the ping service: what the server's tests share."""

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import grpc

from grpcmesh.auth import TokenVerifier
from grpcmesh.authz import PolicyStore
from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from grpcmesh.config import (
    AdmissionConfig,
    AuthConfig,
    AuthzConfig,
    DrainConfig,
    FaultConfig,
    IdentityConfig,
    MeshConfig,
    ServerConfig,
    TelemetryConfig,
)
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.telemetry import Telemetry
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, add_PingServiceServicer_to_server

POLICY = """
[[allow]]
from = ["client"]
methods = ["mesh.testing.PingService/*"]
[users]
"mesh.testing.PingService/*" = "anyone"
"""

#: The same policy, but it also lets `client` set faults.
BREAKABLE = (
    POLICY.replace('/*"]', '/*", "mesh.fault.v1.FaultService/*"]')
    + '"mesh.fault.v1.FaultService/*" = "anyone"\n'
)


class Served:
    """One running server, with its CA, identities, policy and metrics."""

    def __init__(
        self,
        directory: Path,
        servicer: PingServiceServicer | None = None,
        ca: CertificateAuthority | None = None,
        telemetry: TelemetryConfig | None = None,
        fault: FaultConfig | None = None,
        port: ServerConfig | None = None,
        **drain: float,
    ) -> None:
        self.directory, self.ca = directory, ca or CertificateAuthority()
        self.servicer = servicer or PingServicer("ping-1")
        self.write_certificate(self.ca.issue("ping"))
        self.write_policy(POLICY)
        self.config = MeshConfig(
            "ping",
            replica="ping-1",
            address="127.0.0.1:0",
            identity=IdentityConfig(directory / "certs", poll_interval=0.02),
            authz=AuthzConfig(directory / "policy.toml", poll_interval=0.02),
            drain=dataclasses.replace(DrainConfig(delay=0.05, grace=5, stream_grace=0.1), **drain),
            telemetry=telemetry or TelemetryConfig(),
            fault=fault or FaultConfig(),
            auth=AuthConfig(issuer="https://issuer.example.com", audience="shop"),
            server=port or ServerConfig(),
            # A busy machine makes calls queue: what admission does about that is not for these tests.
            admission=AdmissionConfig(enabled=False),
        )
        #: Seconds by which the clock that certificates are compared with is ahead.
        self.ahead = 0.0
        self.identity = IdentityStore(self.config.identity, clock=lambda: time.time() + self.ahead)
        self.policy = PolicyStore(self.config.authz)
        self.verifier = TokenVerifier(self.config.auth)
        self.log = Lines()
        self.telemetry, self.health = Telemetry(self.config, writer=self.log), HealthServicer()
        self.server = self._server()

    def _server(self) -> MeshServer:
        self.identity.load()
        self.policy.load()
        layers = server_layers(self.config, self.telemetry, self.policy, self.verifier, self.identity)
        return MeshServer(self.config, identity=self.identity, layers=layers, health=self.health)

    def write_certificate(self, leaf: Leaf) -> None:
        write_atomically(self.directory / "certs", leaf.files())

    def write_policy(self, text: str) -> None:
        (self.directory / "policy.toml").write_text(text)

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.server.port}"

    def channel(
        self, leaf: Leaf | None = None, ca: bytes | None = None, certified: bool = True
    ) -> grpc.aio.Channel:
        """Open a plain gRPC channel, by default with a certificate of `client`."""
        leaf = leaf or self.ca.issue("client")
        pair = (leaf.tls_key, leaf.tls_crt) if certified else (None, None)
        return grpc.aio.secure_channel(
            self.endpoint, grpc.ssl_channel_credentials(ca or self.ca.pem, *pair), options=CHANNEL_OPTIONS
        )

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of a counter's or gauge's samples that have these labels."""
        families = [*self.server.collect(), *self.identity.collect(), *self.policy.collect()]
        families += self.telemetry.metrics_server.collect()
        samples = [s for f in families for s in f.samples if s.name == name]
        assert samples or labels, f"no metric {name}"
        return sum(s.value for s in samples if labels.items() <= s.labels.items())


CHANNEL_OPTIONS = (
    ("grpc.ssl_target_name_override", "ping"),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
)


@contextlib.asynccontextmanager
async def serve(
    directory: Path,
    servicer: PingServiceServicer | None = None,
    ca: CertificateAuthority | None = None,
    telemetry: TelemetryConfig | None = None,
    fault: FaultConfig | None = None,
    **drain: float,
) -> AsyncIterator[Served]:
    """Run a server until the end of the block."""
    served = Served(directory, servicer, ca, telemetry, fault, **drain)
    add_PingServiceServicer_to_server(served.servicer, served.server)
    await served.server.start()
    served.health.set_all(True)
    watchers = [asyncio.create_task(s.watch()) for s in (served.identity, served.policy)]
    try:
        yield served
    finally:
        for watcher in watchers:
            watcher.cancel()
        await asyncio.wait(watchers)
        await served.server.stop(0)


async def until(condition: Callable[[], object], timeout: float = 120.0) -> None:
    """Wait for a condition that another task brings about."""
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"still not true after {timeout} s"
        await asyncio.sleep(0.005)


async def failure(call: Any) -> grpc.aio.AioRpcError:
    """Return the error of a call that must fail."""
    try:
        await call
    except grpc.aio.AioRpcError as e:
        return e
    raise AssertionError("the call succeeded")


class Lines:
    """Keeps log lines."""

    dropped = 0

    def __init__(self) -> None:
        self.lines: list[str] = []

    def write(self, line: str) -> None:
        self.lines.append(line)

    def close(self) -> None: ...

    async def aclose(self) -> None: ...
