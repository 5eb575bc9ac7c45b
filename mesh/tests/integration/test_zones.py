"""Zone preference between real mesh servers, which report their own zone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from grpcmesh.bad_values import bad_values
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import BalancerConfig, IdentityConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from tests.integration.replicas import eventually

CONFIG = MeshConfig("client", zone="a", balancer=BalancerConfig(slow_start=0.0, prefer_own_zone=True))


class Zoned:
    """A server in each of the zones, and a channel of a client in zone `a`."""

    def __init__(self, directory: Path, zones: list[str]) -> None:
        ca = CertificateAuthority()
        for name in ("client", "ping"):
            write_atomically(directory / name, ca.issue(name).files())
        self._directory = directory
        self.healths = [HealthServicer(zone=zone) for zone in zones]
        self.servers = [
            MeshServer(
                MeshConfig("ping", address="127.0.0.1:0"),
                identity=self._identity("ping"),
                layers=[],
                health=h,
            )
            for h in self.healths
        ]
        for number, server in enumerate(self.servers):
            add_PingServiceServicer_to_server(PingServicer(f"ping-{number}"), server)

    def _identity(self, name: str) -> IdentityStore:
        store = IdentityStore(IdentityConfig(self._directory / name))
        store.load()
        return store

    async def start(self, config: MeshConfig) -> MeshChannel:
        for server, health in zip(self.servers, self.healths, strict=True):
            await server.start()
            health.set_all(True)
        self.channel = MeshChannel(
            "ping",
            config,
            identity=self._identity("client"),
            resolver=StaticResolver([f"127.0.0.1:{server.port}" for server in self.servers]),
        )
        self.stub = PingServiceStub(self.channel)
        await self.channel.start()
        await eventually(lambda: len(self.channel._core.balancer.rotation) == len(self.servers))
        return self.channel

    async def answering(self) -> set[str]:
        return {(await self.stub.Ping(PingRequest(), timeout=60)).replica for _ in range(120)}


@asynccontextmanager
async def zoned(directory: Path, *zones: str, config: MeshConfig = CONFIG) -> AsyncIterator[Zoned]:
    made = Zoned(directory, list(zones))
    channel = await made.start(config)
    try:
        yield made
    finally:
        await channel.close()
        await asyncio.gather(*(server.stop(0) for server in made.servers))


async def test_calls_stay_in_the_zone_that_servers_tell_and_leave_it_when_it_is_lost(tmp_path: Path) -> None:
    async with zoned(tmp_path, "a", "a", "b", "c") as made:
        assert await made.answering() == {"ping-0", "ping-1"}
        state = made.channel.state()
        assert sorted(e["zone"] for e in state["endpoints"]) == ["a", "a", "b", "c"]
        assert state["zone"] == {"preferred": "a", "share": 1.0}
        samples = [s for family in made.channel.collect() for s in family.samples]
        assert [s.value for s in samples if s.name == "mesh_zone_share"] == [1.0]
        zones = [s.labels["zone"] for s in samples if s.name == "mesh_endpoint_zone"]
        assert sorted(zones) == ["a", "a", "b", "c"]
        # Half of the zone is gone: it keeps 70 % of the calls, and the others get the rest.
        made.healths[0].set_all(False)
        await eventually(lambda: made.channel.state()["zone"]["share"] == 0.7)
        assert await made.answering() == {"ping-1", "ping-2", "ping-3"}
        made.healths[1].set_all(False)
        await eventually(lambda: made.channel.state()["zone"]["share"] == 0.0)
        assert await made.answering() == {"ping-2", "ping-3"}
        for health in made.healths[:2]:
            health.set_all(True)
        await eventually(lambda: made.channel.state()["zone"]["share"] == 1.0)
        assert await made.answering() == {"ping-0", "ping-1"}


@pytest.mark.parametrize(
    "config",
    [
        replace(CONFIG, balancer=replace(CONFIG.balancer, prefer_own_zone=False)),
        replace(CONFIG, zone=""),
    ],
    ids=["not wanted", "own zone unknown"],
)
async def test_without_a_preference_all_zones_are_alike(tmp_path: Path, config: MeshConfig) -> None:
    async with zoned(tmp_path, "a", "b", config=config) as made:
        assert await made.answering() == {"ping-0", "ping-1"}
        assert made.channel.state()["zone"] == {}


async def test_a_zone_that_is_no_name_is_counted_and_left_out(tmp_path: Path) -> None:
    before = bad_values.counts["zone"]
    async with zoned(tmp_path, "a", "<b>") as made:
        assert await made.answering() == {"ping-0"}
        assert sorted(e["zone"] for e in made.channel.state()["endpoints"]) == ["", "a"]
    assert bad_values.counts["zone"] > before
