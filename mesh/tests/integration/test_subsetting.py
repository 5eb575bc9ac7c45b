"""Rendezvous subsetting (gRFC A68): which endpoints a client connects to at all."""

import gc
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from grpcmesh.client.channel import MeshChannel
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.replicas import Cluster, Wire, eventually


class Subsetted:
    """Replicas behind wires that count connections, and a channel that uses some of them."""

    def __init__(self, ping: Cluster, file: Path) -> None:
        self.ping, self._file = ping, file
        self.wires: list[Wire] = []
        self._store = ServiceConfigStore(file)

    def configure(self, size: int | None) -> None:
        child = [{"round_robin": {}}]
        policy = {"random_subsetting_experimental": {"subsetSize": size, "childPolicy": child}}
        config = [policy] if size else child
        self._file.write_text(json.dumps({"ping": {"loadBalancingConfig": config}}))
        self._store.poll()

    async def start(self, replicas: int) -> MeshChannel:
        for _ in range(replicas):
            server = await self.ping.add()
            self.wires.append(Wire(server.port))
            await self.wires[-1].start()
        self.resolve(*self.wires)
        self._store.load()
        self.channel = self.ping.open(service_config=self._store)
        await self.channel.start()
        return self.channel

    def resolve(self, *wires: Wire) -> None:
        self.ping.resolver.set(*(wire.endpoint for wire in wires))

    def used(self) -> set[str]:
        """Return the addresses in rotation."""
        return {e["address"] for e in self.channel.state()["endpoints"] if e["state"] == "ready"}

    async def settled(self, size: int) -> set[str]:
        """Wait until `size` are in rotation and no other has a connection. Return their addresses."""

        def done() -> bool:
            used = self.used()
            connected = {wire.endpoint for wire in self.wires if wire.connections}
            return len(used) == size and connected == used

        await eventually(done)
        return self.used()


@asynccontextmanager
async def subsetted(directory: Path, replicas: int, size: int | None) -> AsyncIterator[Subsetted]:
    ping = Cluster(directory / "certs")
    made = Subsetted(ping, directory / "mesh.json")
    made.configure(size)
    channel = await made.start(replicas)
    try:
        yield made
    finally:
        await channel.close()
        await ping.channel.close()
        for wire in made.wires:
            wire.cut()
        for server in ping.servers:
            await server.stop()


async def test_a_client_connects_to_its_subset_only(tmp_path: Path) -> None:
    async with subsetted(tmp_path, 8, 3) as made:
        used = await made.settled(3)
        stub = PingServiceStub(made.channel)
        answers = {(await stub.Ping(PingRequest(), timeout=60)).replica for _ in range(30)}
        assert len(answers) == 3
        assert {w.endpoint for w in made.wires if w.connections} == used
        assert made.channel.state()["subset"] == {"size": 3, "of": 8}
        values = {s.name: s.value for family in made.channel.collect() for s in family.samples}
        assert (values["mesh_endpoints_resolved"], values["mesh_endpoints_used"]) == (8, 3)


async def test_an_endpoint_that_comes_or_goes_changes_one_of_the_subset_at_most(tmp_path: Path) -> None:
    async with subsetted(tmp_path, 8, 3) as made:
        used = await made.settled(3)
        outside = [wire for wire in made.wires if wire.endpoint not in used]
        inside = next(wire for wire in made.wires if wire.endpoint in used)
        # One of the others leaves: nothing changes.
        made.resolve(*(wire for wire in made.wires if wire is not outside[0]))
        await eventually(lambda: made.channel.state()["subset"]["of"] == 7)
        assert await made.settled(3) == used
        # One of the subset leaves: one takes its place; when it is back, it has its place again.
        made.resolve(*(wire for wire in made.wires if wire is not inside))
        await eventually(lambda: inside.endpoint not in made.used())
        now = await made.settled(3)
        assert len(now & used) == 2
        made.resolve(*made.wires)
        await eventually(lambda: inside.endpoint in made.used())
        assert await made.settled(3) == used


async def test_what_leaves_the_subset_is_disconnected_without_the_garbage_collector(tmp_path: Path) -> None:
    gc.disable()
    try:
        async with subsetted(tmp_path, 2, None) as made:
            await made.settled(2)
            made.configure(1)
            await made.settled(1)
    finally:
        gc.enable()


async def test_the_size_changes_at_run_time_and_what_stays_keeps_its_connection(tmp_path: Path) -> None:
    async with subsetted(tmp_path, 6, 2) as made:
        few = await made.settled(2)
        made.configure(4)
        more = await made.settled(4)
        assert few < more
        made.configure(None)
        assert more < await made.settled(6)
        made.configure(2)
        assert await made.settled(2) == few


async def test_no_endpoint_outside_of_the_subset_takes_over_for_one_that_fails(tmp_path: Path) -> None:
    async with subsetted(tmp_path, 4, 2) as made:
        used = await made.settled(2)
        stub = PingServiceStub(made.channel)
        inside = [wire for wire in made.wires if wire.endpoint in used]
        inside[0].cut()
        await eventually(lambda: made.used() == {inside[1].endpoint})
        assert len({(await stub.Ping(PingRequest(), timeout=60)).replica for _ in range(10)}) == 1
        inside[1].cut()
        await eventually(lambda: not made.used())
        with pytest.raises(grpc.aio.AioRpcError, match="no endpoint of ping is ready"):
            await stub.Ping(PingRequest(), timeout=60)
