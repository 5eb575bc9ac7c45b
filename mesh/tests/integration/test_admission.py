"""A server that refuses, and a caller that hears of it, over a real connection."""

import asyncio
from collections import Counter

import grpc

from grpcmesh.admission import AdmissionLayer
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdmissionConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer
from grpcmesh.status import REFUSED_KEY
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server


async def test_a_caller_sends_few_of_the_calls_that_a_server_refuses_anyway() -> None:
    config = MeshConfig("ping", address="127.0.0.1:0")
    layer = AdmissionLayer(AdmissionConfig(min_calls=1, max_calls=1), 1 << 20)
    health = HealthServicer()
    server = MeshServer(config, identity=None, layers=[layer], health=health)
    add_PingServiceServicer_to_server(PingServicer("ping-1"), server)
    await server.start()
    health.set_all(True)
    resolver = StaticResolver([f"127.0.0.1:{server.port}"])
    async with MeshChannel("ping", config, identity=None, resolver=resolver) as channel:
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
        throttled = [s.value for m in channel.collect() for s in m.samples if "throttled_total" in s.name]
        assert throttled == [outcomes["not sent"]]
        holds.cancel()
    await server.stop(0)
