"""Health of the called service, as opposed to that of the whole process."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.client.channel import MeshChannel
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.replicas import Cluster, eventually

PING = "mesh.testing.PingService"
OTHER = "mesh.testing.Other"


class Two:
    """Two replicas that serve ping and another service, and a channel that calls both."""

    def __init__(self, directory: Path) -> None:
        self.ping = Cluster(directory / "certs")
        self._file = directory / "mesh.json"
        self._store = ServiceConfigStore(self._file)
        self.configure({})
        self._store.load()
        self.channel: MeshChannel = self.ping.open(service_config=self._store)
        self.stub = PingServiceStub(self.channel)
        self._other: Any = self.channel.unary_unary(f"/{OTHER}/Call")

    def configure(self, config: dict[str, Any]) -> None:
        self._file.write_text(json.dumps({"ping": config}))
        self._store.poll()

    async def start(self, **serving: bool) -> None:
        """Start both. `ping`, `other`: the first's health of these services; the second serves both."""
        for _ in range(2):
            server = await self.ping.add()
            await server.stop()
            server.also = self._serve_other(server)
            await server.set_serving(True, PING)
            await server.set_serving(True, OTHER)
        for service, name in ((PING, "ping"), (OTHER, "other")):
            await self.first.set_serving(serving.get(name, True), service)
        for server in self.ping.servers:
            await server.start()
        self.ping.resolve(*self.ping.servers)
        await self.channel.start()
        await eventually(lambda: self.states() == ["ready", "ready"])

    @staticmethod
    def _serve_other(server: PingServer) -> Any:
        async def call(request: bytes, context: Any) -> bytes:
            return server.servicer.replica.encode()

        handler: Any = grpc.unary_unary_rpc_method_handler(call)
        generic = grpc.method_handlers_generic_handler(OTHER, {"Call": handler})
        return lambda native: native.add_generic_rpc_handlers((generic,))

    @property
    def first(self) -> PingServer:
        return self.ping.servers[0]

    def states(self) -> list[str]:
        return [e["state"] for e in self.channel.state()["endpoints"]]

    def not_serving(self) -> list[str]:
        return sorted(e["not_serving"] for e in self.channel.state()["endpoints"])

    async def answering(self) -> set[str]:
        """Return the replicas that answer calls of ping."""
        return {(await self.stub.Ping(PingRequest(), timeout=60)).replica for _ in range(8)}

    async def answering_other(self) -> set[str]:
        return {(await self._other(b"", timeout=60)).decode() for _ in range(8)}


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    made = Two(tmp_path)
    yield made
    await made.channel.close()
    await made.ping.channel.close()
    for server in made.ping.servers:
        await server.stop()


BOTH = {"ping-1", "ping-2"}


async def test_a_service_that_is_not_served_takes_the_endpoint_out_for_its_calls_only(two: Two) -> None:
    await two.start(ping=False)
    # Known before the first call: the endpoint was not ready earlier.
    assert await two.answering() == {"ping-2"}
    assert await two.answering_other() == BOTH
    assert two.not_serving() == ["", PING]
    samples = [s for family in two.channel.collect() for s in family.samples]
    [told] = [s for s in samples if s.name == "mesh_endpoint_not_serving"]
    assert (told.labels["endpoint"], told.labels["service"]) == (two.first.endpoint, PING)
    await two.first.set_serving(True, PING)
    await eventually(lambda: two.not_serving() == ["", ""])
    assert await two.answering() == BOTH


async def test_the_whole_process_goes_before_its_services(two: Two) -> None:
    await two.start()
    await two.first.set_serving(False)
    await eventually(lambda: sorted(two.states()) == ["ready", "unhealthy"])
    assert await two.answering() == await two.answering_other() == {"ping-2"}


async def test_calls_of_a_service_that_nobody_serves_fail_or_wait(two: Two) -> None:
    await two.start(ping=False)
    await two.ping.servers[1].set_serving(False, PING)
    await eventually(lambda: two.not_serving() == [PING, PING])
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await two.stub.Ping(PingRequest(), timeout=60)
    assert (e.value.code(), e.value.details()) == (
        grpc.StatusCode.UNAVAILABLE,
        f"no endpoint of ping serves {PING}: 2 say NOT_SERVING",
    )
    assert await two.answering_other() == BOTH
    patient = asyncio.ensure_future(two.stub.Ping(PingRequest(), timeout=60, wait_for_ready=True))
    await eventually(lambda: two.channel.state()["waiting"] == 1)
    await two.first.set_serving(True, PING)
    assert (await patient).replica == "ping-1"


async def test_a_service_of_the_service_config_decides_on_the_endpoint(two: Two) -> None:
    await two.start(other=False)
    assert await two.answering() == BOTH
    two.configure({"healthCheckConfig": {"serviceName": OTHER}})
    await eventually(lambda: sorted(two.states()) == ["ready", "unhealthy"])
    assert await two.answering() == {"ping-2"}
    assert two.not_serving() == ["", ""]
    # gRFC A17: a server that does not know the service does not serve it.
    two.configure({"healthCheckConfig": {"serviceName": "nobody.Knows"}})
    await eventually(lambda: two.states() == ["unhealthy", "unhealthy"])
    # Without a name, health is not watched.
    two.configure({"healthCheckConfig": {}})
    await eventually(lambda: two.states() == ["ready", "ready"])
    assert await two.answering() == BOTH
    two.configure({})
    await eventually(lambda: sorted(two.not_serving()) == ["", OTHER])
    assert await two.answering() == BOTH
    assert await two.answering_other() == {"ping-2"}


async def test_a_server_that_does_not_know_the_service_is_judged_as_a_whole(tmp_path: Path) -> None:
    ping = Cluster(tmp_path)
    server = await ping.add()
    ping.resolve(server)
    await ping.ready(1)
    assert (await ping.stub.Ping(PingRequest(), timeout=60)).replica == "ping-1"
    await ping.channel.close()
    await server.stop()
