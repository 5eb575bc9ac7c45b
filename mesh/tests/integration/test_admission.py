"""A server that refuses, and a caller that hears of it, over a real connection."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from grpcmesh.admission import AdmissionLayer
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdmissionConfig, IdentityConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer
from grpcmesh.status import REFUSED_KEY
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from tests.integration.serverkit import until


@asynccontextmanager
async def calling(layer: AdmissionLayer) -> AsyncIterator[MeshChannel]:
    """Run a server with this layer alone; yield a channel to it."""
    config, health = MeshConfig("ping", address="127.0.0.1:0"), HealthServicer()
    server = MeshServer(config, identity=None, layers=[layer], health=health)
    add_PingServiceServicer_to_server(PingServicer("ping-1"), server)
    await server.start()
    health.set_all(True)
    resolver = StaticResolver([f"127.0.0.1:{server.port}"])
    try:
        async with MeshChannel("ping", config, identity=None, resolver=resolver) as channel:
            yield channel
    finally:
        await server.stop(0)


async def test_a_caller_sends_few_of_the_calls_that_a_server_refuses_anyway() -> None:
    layer = AdmissionLayer(AdmissionConfig(min_calls=1, max_calls=1), 1 << 20)
    async with calling(layer) as channel:
        stub = PingServiceStub(channel)
        await channel.channel_ready()
        holds = stub.Ping(PingRequest(delay=3600), timeout=60)  # the only place
        outcomes = Counter[str]()
        while outcomes["sent"] < 10 or outcomes["not sent"] < 100:
            call = stub.Ping(PingRequest())
            assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            sent = dict(await call.trailing_metadata() or ()).get(REFUSED_KEY) == "concurrency"
            assert sent is not ("was not sent" in await call.details())
            outcomes["sent" if sent else "not sent"] += 1
            assert outcomes.total() < 10_000
            await asyncio.sleep(0)
        refused = sum(s.value for m in layer.metrics() for s in m.samples if s.name.endswith("refused_total"))
        assert refused == outcomes["sent"]
        throttled = [
            s.value for m in channel.collect() for s in m.samples if s.name == "mesh_calls_throttled_total"
        ]
        assert throttled == [outcomes["not sent"]]
        holds.cancel()


class Busy(PingServicer):
    """A servicer that burns CPU. Its calls queue in gRPC's core, where its handlers do not see it."""

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        time.sleep(0.005)  # noqa: ASYNC251  # that is the point
        return PingResponse()


async def test_callers_from_outside_are_refused_by_the_queue_that_a_probe_sees(tmp_path: Path) -> None:
    """They send no `mesh-timeout-ms`. Without the probe, as on a8def03, their queueing is unnoticed."""
    ca = CertificateAuthority()
    for name in ("client", "ping"):
        write_atomically(tmp_path / name, ca.issue(name).files())
    identity, client = (IdentityStore(IdentityConfig(tmp_path / name)) for name in ("ping", "client"))
    identity.load()
    client.load()
    # Only the age of calls can make it refuse any.
    layer = AdmissionLayer(AdmissionConfig(min_calls=1000, target_age=0.05), 1 << 20)
    server = MeshServer(
        MeshConfig("ping", address="127.0.0.1:0"), identity=identity, layers=[layer], health=HealthServicer()
    )
    add_PingServiceServicer_to_server(Busy("ping-1"), server)
    await server.start()
    credentials = client.current.channel_credentials()
    options = (("grpc.ssl_target_name_override", "ping"),)
    failures: set[tuple[grpc.StatusCode, str]] = set()

    async def call(stub: PingServiceStub) -> None:
        while not failures:
            ping = stub.Ping(PingRequest(), timeout=30)
            if await ping.code() is not grpc.StatusCode.OK:
                failures.add((await ping.code(), await ping.details()))

    async with grpc.aio.secure_channel(f"127.0.0.1:{server.port}", credentials, options) as channel:
        stub = PingServiceStub(channel)
        async with asyncio.timeout(600):
            await asyncio.gather(*(call(stub) for _ in range(150)))
    assert failures == {(grpc.StatusCode.RESOURCE_EXHAUSTED, "calls queue too long before they are served")}
    state: Any = server.state()["admission"]
    assert state["refused"]["queue"] > 0
    # A probe that has not come back yet tells of the queue, too.
    await until(lambda: server.state()["admission"]["probes"] > 0)
    await server.stop(0)


async def test_a_server_whose_callers_tell_everything_is_not_probed() -> None:
    layer = AdmissionLayer(AdmissionConfig(), 1 << 20)
    async with calling(layer) as channel:
        stub = PingServiceStub(channel)
        for _ in range(30):
            await stub.Ping(PingRequest(), timeout=3)
            await asyncio.sleep(0.01)
    assert layer.state()["admission"]["probes"] == 0
    assert not layer.wants_probe()
