"""Helpers shared by the channel's tests: ping replicas behind mutual TLS, a load, a bounded wait."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import grpc

from grpcmesh.ca import CertificateAuthority, Leaf, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import BalancerConfig, IdentityConfig, MeshConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests import ports

CONFIG = MeshConfig("client", balancer=BalancerConfig(slow_start=0.0, drain_timeout=5.0))


async def eventually(condition: Callable[[], Any], within: float = 60.0) -> None:
    """Wait until the condition holds, for at most `within` seconds."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110  # conditions of many kinds, none with an event
            await asyncio.sleep(0.005)


class Cluster:
    """Replicas of ping, and the channel that is tested."""

    def __init__(self, directory: Path, config: MeshConfig = CONFIG) -> None:
        self.ca = CertificateAuthority()
        self.directory = directory
        self.config = config
        self.identity = self.load(self.ca.issue("client"))
        self.servers: list[PingServer] = []
        self.resolver = FakeResolver()
        self.channel = self.open()
        self.stub = PingServiceStub(self.channel)

    def load(self, leaf: Leaf) -> IdentityStore:
        write_atomically(self.directory, leaf.files())
        store = IdentityStore(IdentityConfig(directory=self.directory))
        store.load()
        return store

    def open(self, **changes: Any) -> MeshChannel:
        """Open another channel to the same replicas."""
        arguments: dict[str, Any] = {"identity": self.identity, "resolver": self.resolver}
        return MeshChannel("ping", self.config, **{**arguments, **changes})

    async def add(self, *, watchable: bool = True) -> PingServer:
        """Start one more replica, which the resolver does not list yet."""
        name = f"ping-{len(self.servers) + 1}"
        server = PingServer(self.ca.issue("ping"), name, ports.address(), watchable=watchable)
        await server.start()
        self.servers.append(server)
        return server

    def resolve(self, *servers: PingServer) -> None:
        self.resolver.set(*(s.endpoint for s in servers))

    def states(self) -> dict[str, str]:
        """Return the endpoints' states by address."""
        return {e["address"]: e["state"] for e in self.channel.state()["endpoints"]}

    async def ready(self, count: int) -> None:
        """Wait until `count` replicas are in rotation."""
        await self.channel.start()
        await eventually(lambda: list(self.states().values()).count("ready") == count)

    def in_flight(self) -> int:
        return sum(e["in_flight"] for e in self.channel.state()["endpoints"])


@contextlib.asynccontextmanager
async def cluster(directory: Path, replicas: int, config: MeshConfig = CONFIG) -> AsyncIterator[Cluster]:
    """Run replicas that are resolved and in rotation."""
    made = Cluster(directory, config)
    try:
        for _ in range(replicas):
            await made.add()
        made.resolve(*made.servers)
        await made.ready(replicas)
        yield made
    finally:
        await made.channel.close()
        for server in made.servers:
            await server.stop()


class Wire:
    """A TCP proxy to a server. It can reset connections and refuse new ones, like a killed process."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = ports.free_port()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        return len(self._writers) // 2

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()

    async def start(self) -> None:
        """Listen, on the previous port if the wire was cut."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._server.close()
        self.reset()

    def reset(self) -> None:
        """Reset every connection."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._server_port)
        self._writers |= {writer, server_writer}
        await asyncio.gather(
            self._copy(reader, server_writer), self._copy(server_reader, writer), return_exceptions=True
        )
        self._writers -= {writer, server_writer}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.transport.abort()


class Load:
    """Calls that follow each other until told to stop, several at a time. An async context manager."""

    def __init__(self, stub: PingServiceStub, workers: int = 8) -> None:
        self._stub, self._workers = stub, workers
        self._stop = asyncio.Event()
        #: The number of answers by replica, and the failures.
        self.answers: Counter[str] = Counter()
        self.failures: list[str] = []

    async def _work(self) -> None:
        while not self._stop.is_set():
            try:
                response = await self._stub.Ping(PingRequest(), timeout=60)
                self.answers[response.replica] += 1
            except grpc.aio.AioRpcError as e:
                self.failures.append(f"{e.code().name} {e.details()}")

    async def more(self, count: int = 50) -> Counter[str]:
        """Wait for `count` more answers, and return the number by replica."""
        before = self.answers.copy()
        await eventually(lambda: (self.answers - before).total() >= count, within=60.0)
        return self.answers - before

    async def __aenter__(self) -> "Load":
        self._tasks = [asyncio.create_task(self._work()) for _ in range(self._workers)]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._stop.set()
        await asyncio.wait_for(asyncio.gather(*self._tasks), 120)


def with_balancer(**changes: Any) -> MeshConfig:
    return replace(CONFIG, balancer=replace(CONFIG.balancer, **changes))
