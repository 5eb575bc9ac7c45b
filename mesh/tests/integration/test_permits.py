"""Whatever becomes of calls, the permits of servers and the counts of the circuit breaker are returned."""

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from typing import Any

import grpc

from grpcmesh.admission import AdmissionLayer
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdmissionConfig, ChannelConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from tests.integration.replicas import eventually

SERVICE = "mesh.testing.PingService"
#: Limits that the calls reach, hedges, and timeouts of single attempts.
CONFIG = {
    "circuitBreaker": {"maxConcurrentRequests": 12, "maxPendingRequests": 2},
    "methodConfig": [
        {
            "name": [{"service": SERVICE, "method": "Ping"}, {"service": SERVICE, "method": "Count"}],
            "hedgingPolicy": {
                "maxAttempts": 3,
                "hedgingDelay": "0.005s",
                "nonFatalStatusCodes": ["UNAVAILABLE"],
            },
        },
        {
            "name": [{"service": SERVICE, "method": "Poke"}],
            "retryPolicy": {
                "maxAttempts": 3,
                "initialBackoff": "0.01s",
                "maxBackoff": "0.02s",
                "backoffMultiplier": 2,
                "perAttemptRecvTimeout": "0.05s",
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        },
    ],
}

#: Every call is sent, however many were refused before.
CLIENT = MeshConfig("client", channel=ChannelConfig(overload_ratio=0))


class Moody(PingServicer):
    """Raises what is no gRPC error where the request says so."""

    async def Poke(self, request: PingRequest, context: Any) -> PingResponse:
        if request.text == "raise":
            raise ValueError("a bug")
        return await super().Poke(request, context)


class Replica:
    """A server with few places."""

    def __init__(self) -> None:
        config = AdmissionConfig(target_age=0.0, min_calls=4, max_calls=4, max_streams=4)
        self.layer, self.servicer = AdmissionLayer(config, 1 << 20), Moody()
        health = HealthServicer()
        self.server = MeshServer(
            MeshConfig("ping", address="127.0.0.1:0"), identity=None, layers=[self.layer], health=health
        )
        add_PingServiceServicer_to_server(self.servicer, self.server)
        health.set_all(True)

    @property
    def permits(self) -> tuple[int, int]:
        admission = self.layer.state()["admission"]
        return admission["in_flight"], admission["streams"]

    @property
    def refused(self) -> int:
        return sum(self.layer.state()["admission"]["refused"].values())


@contextlib.asynccontextmanager
async def pair() -> AsyncIterator[tuple[list[Replica], MeshChannel]]:
    """Two servers and a channel to them."""
    replicas = [Replica(), Replica()]
    store = ServiceConfigStore(inline=json.dumps({"ping": CONFIG}))
    store.load()
    try:
        for replica in replicas:
            await replica.server.start()
        resolver = StaticResolver([f"127.0.0.1:{replica.server.port}" for replica in replicas])
        async with MeshChannel(
            "ping", CLIENT, identity=None, resolver=resolver, service_config=store
        ) as channel:
            await channel.start()
            await eventually(lambda: [e["state"] for e in channel.state()["endpoints"]] == ["ready"] * 2)
            yield replicas, channel
    finally:
        for replica in replicas:
            await replica.server.stop(0)


def request(rng: random.Random) -> PingRequest:
    return PingRequest(
        delay=rng.choice([0.0, 0.0, 0.02, 3600.0]),
        count=rng.choice([1, 5]),
        fail_code=rng.choice(["", "", "UNAVAILABLE", "NOT_FOUND"]),
        fail_after=rng.choice([0, 2]),
        pushback=rng.choice(["", "1", "-1"]),
        text=rng.choice(["", "raise"]),
    )


async def one(stub: PingServiceStub, rng: random.Random) -> None:
    """One call of some kind, which ends in some way."""
    method, timeout = rng.choice(["Ping", "Poke", "Count", "Sum", "Echo"]), rng.choice([0.01, 0.1, 0.3])
    messages = request(rng)
    if method in {"Sum", "Echo"}:
        call: Any = getattr(stub, method)(iter([messages] * 3), timeout=timeout)
    else:
        call = getattr(stub, method)(messages, timeout=timeout)
    match rng.choice(["wait", "wait", "cancel", "cancel later", "drop"]):
        case "cancel":
            call.cancel()
        case "cancel later":
            await asyncio.sleep(rng.random() * 0.05)
            call.cancel()
        case "drop":
            return
    with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
        if method in {"Count", "Echo"}:
            async for _ in call:
                pass
        else:
            await call


def nothing_is_left(replicas: list[Replica], channel: MeshChannel) -> bool:
    endpoints = channel.state()["endpoints"]
    return (
        [replica.permits for replica in replicas] == [(0, 0)] * len(replicas)
        and channel._core.breaker.in_flight == 0
        and channel.state()["waiting"] == 0
        and [e["in_flight"] for e in endpoints] == [0] * len(endpoints)
    )


async def reach_the_limits(stub: PingServiceStub, replicas: list[Replica], channel: MeshChannel) -> None:
    """Make more calls at once than the servers and the circuit breaker have places for, and end them."""
    calls: list[Any] = [stub.Sum(iter([PingRequest(delay=3600)]), timeout=60) for _ in range(9)]
    await eventually(lambda: sum(replica.refused for replica in replicas) > 0)
    calls += [stub.Ping(PingRequest(delay=3600), timeout=60) for _ in range(14)]
    await eventually(lambda: sum(channel._core.breaker.refused.values()) > 0)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    await eventually(lambda: nothing_is_left(replicas, channel))


async def test_permits_and_counts_are_returned_once_whatever_becomes_of_calls() -> None:
    rng = random.Random(8)
    async with pair() as (replicas, channel):
        stub = PingServiceStub(channel)
        await reach_the_limits(stub, replicas, channel)

        async def worker() -> None:
            for _ in range(40):
                await one(stub, rng)

        await asyncio.gather(*(worker() for _ in range(12)))
        await eventually(lambda: nothing_is_left(replicas, channel))
        # Every place can be had again.
        holding = [stub.Sum(iter([PingRequest(delay=3600)]), timeout=60) for _ in range(4)]
        await eventually(lambda: sum(streams for _, streams in (r.permits for r in replicas)) == 4)
        for call in holding:
            call.cancel()
        await eventually(lambda: nothing_is_left(replicas, channel))


async def test_permits_are_returned_by_a_drain_that_cuts_calls() -> None:
    async with pair() as (replicas, channel):
        stub = PingServiceStub(channel)
        calls: list[Any] = [stub.Sum(iter([PingRequest(delay=3600)]), timeout=60) for _ in range(3)]
        calls += [stub.Count(PingRequest(delay=3600), timeout=60) for _ in range(2)]
        await eventually(lambda: sum(streams for _, streams in (r.permits for r in replicas)) >= 4)
        await asyncio.gather(*(replica.server.stop(0) for replica in replicas))
        await eventually(lambda: [replica.permits for replica in replicas] == [(0, 0)] * 2)
        for call in calls:
            call.cancel()
        await eventually(lambda: nothing_is_left(replicas, channel))
