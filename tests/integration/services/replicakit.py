"""Replicas of one service behind real mutual TLS, the shop's own policy and tokens; mesh channels to them.

Each has a stack, a database and background work of its own, as a process has; one is drained as a process
is. kill -9 needs a process: see tests/e2e.
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grpcmesh.auth import StaticKeys, TokenIssuer, TokenVerifier
from grpcmesh.authz import PolicyStore
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import (
    AuthConfig,
    AuthzConfig,
    BalancerConfig,
    DeadlineConfig,
    DrainConfig,
    IdentityConfig,
    MeshConfig,
)
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.telemetry import Telemetry
from grpcmesh.testing.resolver import FakeResolver
from local.catalog import AUDIENCE, ISSUER

POLICY = Path(__file__).parents[3] / "services" / "policy.toml"
Metadata = tuple[tuple[str, str], ...]
#: Puts a replica together: enters its resources, adds its servicer to the server.
Make = Callable[[AsyncExitStack, MeshServer], Awaitable[None]]


@dataclass
class Replica:
    """One that runs."""

    name: str
    server: MeshServer
    resources: AsyncExitStack

    async def leave(self) -> None:
        """SIGTERM."""
        await self.server.drain()
        await self.server.stop(0)
        await self.resources.aclose()


class Fleet:
    """Replicas, and those who call them.

    Args:
        service: Its name.
        directory: For certificates.
        make: Puts a replica together.
        policy: What is allowed beside the shop's own policy.
    """

    def __init__(self, service: str, directory: Path, make: Make, policy: str = "") -> None:
        self._service, self._directory, self._make = service, directory, make
        directory.mkdir(parents=True, exist_ok=True)
        self._policy = directory / "policy.toml"
        self._policy.write_text(POLICY.read_text() + policy)
        self._ca, self._key = CertificateAuthority(), Ed25519PrivateKey.generate()
        self._keys = StaticKeys({"k": self._key.public_key()})
        self._issuer = TokenIssuer(self._key, "k", AuthConfig(ISSUER, AUDIENCE))
        self._numbers = itertools.count(1)
        self._channels: list[MeshChannel] = []
        self.replicas: list[Replica] = []
        self._resolvers: list[FakeResolver] = []

    def token(self, user_id: int, name: str, *roles: str) -> Metadata:
        """Metadata of a user."""
        token = self._issuer.issue(user_id, name, roles or ["user"], 3600)
        return (("authorization", f"Bearer {token}"),)

    async def start(self) -> Replica:
        """One more replica, in rotation."""
        name = f"{self._service}-{next(self._numbers)}"
        config = replace(
            MeshConfig(self._service, replica=name, address="127.0.0.1:0"),
            auth=AuthConfig(ISSUER, AUDIENCE),
            authz=AuthzConfig(self._policy),
            drain=DrainConfig(delay=0.3, grace=5, stream_grace=0.1),
        )
        resources = AsyncExitStack()
        policy, verifier = PolicyStore(config.authz), TokenVerifier(config.auth, self._keys)
        policy.load()
        assert await verifier.start(5)
        identity = self._identity(self._service)
        layers = server_layers(config, Telemetry(config, writer=_Silent()), policy, verifier, identity)
        health = HealthServicer()
        server = MeshServer(config, identity=identity, layers=layers, health=health)
        await self._make(resources, server)
        await server.start()
        health.set_all(True)
        replica = Replica(name, server, resources)
        self.replicas.append(replica)
        self._resolve()
        return replica

    async def leave(self, replica: Replica) -> None:
        """A drain: out of the resolver once it says NOT_SERVING, as a cluster does it."""
        self.replicas.remove(replica)
        leaving = asyncio.create_task(replica.leave())
        await asyncio.sleep(0)
        self._resolve()
        await leaving

    def channel(
        self,
        replicas: Sequence[Replica] = (),
        workload: str = "client",
        options: Sequence[tuple[str, int]] = (),
    ) -> MeshChannel:
        """A channel of a workload; to certain replicas, or to all that there are at a time."""
        resolver = FakeResolver(*map(_address, replicas or self.replicas))
        if not replicas:
            self._resolvers.append(resolver)
        config = MeshConfig(
            workload,
            balancer=BalancerConfig(slow_start=0.0, drain_timeout=5.0),
            deadline=DeadlineConfig(default=60.0),  # the machine may be busy
        )
        identity = self._identity(workload)
        channel = MeshChannel(self._service, config, identity=identity, resolver=resolver, options=options)
        self._channels.append(channel)
        return channel

    async def aclose(self) -> None:
        for channel in self._channels:
            await channel.close()
        for replica in self.replicas:
            await replica.server.stop(0)
            await replica.resources.aclose()

    def _resolve(self) -> None:
        for resolver in self._resolvers:
            resolver.set(*map(_address, self.replicas))

    def _identity(self, workload: str) -> IdentityStore:
        directory = self._directory / "certs" / workload
        if not directory.exists():
            write_atomically(directory, self._ca.issue(workload).files())
        store = IdentityStore(IdentityConfig(directory))
        store.load()
        return store


def _address(replica: Replica) -> str:
    return f"127.0.0.1:{replica.server.port}"


@asynccontextmanager
async def fleet(
    service: str, directory: Path, make: Make, replicas: int = 2, policy: str = ""
) -> AsyncIterator[Fleet]:
    """So many replicas."""
    made = Fleet(service, directory, make, policy)
    try:
        for _ in range(replicas):
            await made.start()
        yield made
    finally:
        await made.aclose()


async def eventually(condition: Callable[[], Awaitable[Any]], within: float = 60.0) -> None:
    """Waits until others have brought it about."""
    async with asyncio.timeout(within):
        while not await condition():  # noqa: ASYNC110 # conditions of many kinds, none with an event
            await asyncio.sleep(0.02)


async def resumed(
    open_stream: Callable[[int], Any], into: list[Any], most: int, after: int = 0
) -> list[grpc.StatusCode]:
    """Follows a stream as a client should: where it ends with UNAVAILABLE, resumes with the last cursor.

    Args:
        open_stream: Makes the call after a cursor.
        into: Where its messages go.
        most: How many to wait for.
        after: The first cursor.

    Returns:
        How the streams that did not last ended.
    """
    ends: list[grpc.StatusCode] = []
    while len(into) < most:
        call = open_stream(after)
        try:
            async for message in call:
                into.append(message)
                after = message.cursor
                if len(into) == most:
                    break
        except grpc.aio.AioRpcError as e:
            if e.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            ends.append(e.code())
            await asyncio.sleep(0.02)
        finally:
            call.cancel()
    return ends


class _Silent:
    """Takes log lines and drops them."""

    dropped = 0

    def write(self, line: str) -> None: ...

    def close(self) -> None: ...

    async def aclose(self) -> None: ...
