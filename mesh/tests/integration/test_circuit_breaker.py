"""The circuit breaker: what is above a limit fails at once, and nothing else."""

import asyncio
from pathlib import Path

import grpc

from grpcmesh.client.channel import MeshChannel
from grpcmesh.service_config import CircuitBreaker
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.replicas import CONFIG, cluster, eventually


def refused(channel: MeshChannel) -> dict[str, float]:
    return {
        sample.labels["limit"]: sample.value
        for metric in channel.collect()
        for sample in metric.samples
        if sample.name == "mesh_breaker_refused_total"
    }


async def outcome(call: grpc.aio.UnaryUnaryCall) -> str:
    try:
        await call
    except grpc.aio.AioRpcError as e:
        return f"{e.code().name}: {e.details()}"
    return "OK"


async def test_calls_above_the_limit_fail_at_once_and_are_not_retried(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as ping:
        ping.channel._core.breaker.config = CircuitBreaker(max_concurrent_requests=5)
        first = [ping.stub.Ping(PingRequest(delay=3600), timeout=60) for _ in range(5)]
        sixth = ping.stub.Ping(PingRequest())
        assert await outcome(sixth) == (
            "UNAVAILABLE: the circuit breaker of ping is open: 5 calls are under way"
        )
        assert refused(ping.channel) == {"concurrent": 1, "pending": 0}
        first[0].cancel()
        assert await outcome(ping.stub.Ping(PingRequest())) == "OK"
        for call in first:
            call.cancel()
        assert (ping.in_flight(), ping.channel._core.breaker.in_flight) == (0, 0)


async def test_no_more_calls_wait_for_an_endpoint_than_the_limit_says() -> None:
    channel = MeshChannel("ping", CONFIG, identity=None, resolver=FakeResolver())
    channel._core.breaker.config = CircuitBreaker(max_pending_requests=3)
    stub = PingServiceStub(channel)
    waiting = [stub.Ping(PingRequest(), timeout=60) for _ in range(3)]
    await eventually(lambda: channel.state()["waiting"] == 3)
    assert await outcome(stub.Ping(PingRequest(), timeout=60)) == (
        "UNAVAILABLE: the circuit breaker of ping is open: 3 calls wait for an endpoint"
    )
    assert refused(channel) == {"concurrent": 0, "pending": 1}
    await channel.close()
    await asyncio.wait([asyncio.ensure_future(call) for call in waiting])
