"""Retries of a MeshChannel against real servers, and what layers see of calls and attempts."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from grpcmesh.call import ClientCall, ClientLayer
from grpcmesh.errors import FailedPrecondition
from grpcmesh.status import from_wire
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.channelkit import make
from tests.integration.replicas import Cluster, cluster, eventually


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 2) as made:
        yield made


async def test_an_idempotent_call_is_retried_on_another_endpoint(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="r", fail_code="UNAVAILABLE", fail_times=1))
    await call
    assert [s.servicer.calls["Ping"] for s in ping.servers] == [1, 1]
    assert ping.channel.state()["retries"] == 1


async def test_a_call_that_is_not_idempotent_is_not_retried(ping: Cluster) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await ping.stub.Poke(PingRequest(fail_code="UNAVAILABLE"))
    assert sum(s.servicer.calls["Poke"] for s in ping.servers) == 1


async def test_a_retried_call_that_nobody_awaits_is_counted_right(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="f", fail_code="UNAVAILABLE", fail_times=1))
    await eventually(call.done)
    assert ping.in_flight() == 0
    assert await call.code() is grpc.StatusCode.OK
    assert (await call).text == "f"


async def test_pushback_postpones_a_retry_or_forbids_it(ping: Cluster) -> None:
    started = asyncio.get_running_loop().time()
    await ping.stub.Ping(PingRequest(text="p", fail_code="UNAVAILABLE", fail_times=1, pushback="200"))
    assert asyncio.get_running_loop().time() - started >= 0.2
    before = sum(s.servicer.calls["Ping"] for s in ping.servers)
    with pytest.raises(grpc.aio.AioRpcError):
        await ping.stub.Ping(PingRequest(fail_code="UNAVAILABLE", pushback="-1"))
    assert sum(s.servicer.calls["Ping"] for s in ping.servers) == before + 1


async def test_a_server_stream_is_retried_until_its_first_message(ping: Cluster) -> None:
    request = PingRequest(text="s", count=3, fail_code="UNAVAILABLE", fail_times=1)
    assert [m.number async for m in ping.stub.Count(request)] == [1, 2, 3]
    assert sum(s.servicer.calls["Count"] for s in ping.servers) == 2


async def test_a_server_stream_is_not_retried_after_its_first_message(ping: Cluster) -> None:
    request = PingRequest(count=3, fail_code="UNAVAILABLE", fail_after=1)
    call = ping.stub.Count(request)
    numbers = [(await call.read()).number]
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()
    assert numbers == [1]
    assert sum(s.servicer.calls["Count"] for s in ping.servers) == 1


@pytest.mark.parametrize("method", ["Sum", "Echo"])
async def test_a_request_stream_is_not_retried(ping: Cluster, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await make(ping, method, PingRequest(fail_code="UNAVAILABLE"))
    assert sum(s.servicer.calls[method] for s in ping.servers) == 1


class Recorder(ClientLayer):
    """A layer that records the calls of its hooks."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_start(self, call: ClientCall) -> None:
        call.metadata.append(("x-layer", "was here"))
        self.events.append("start")

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        self.events.append(f"attempt {call.attempts} {code.name}")

    def on_end(self, call: ClientCall) -> None:
        self.events.append(f"end {call.code.name} sent={call.sent} received={call.received}")


async def test_layers_see_one_call_and_each_of_its_attempts(ping: Cluster) -> None:
    layer = Recorder()
    async with ping.open(layers=[layer]) as channel:
        stub = PingServiceStub(channel)
        response = await stub.Ping(PingRequest(text="l", fail_code="UNAVAILABLE", fail_times=1))
        assert response.metadata["x-layer"] == "was here"
        assert layer.events == ["start", "attempt 1 UNAVAILABLE", "attempt 2 OK", "end OK sent=1 received=1"]
        layer.events.clear()
        _ = [m async for m in stub.Echo(iter([PingRequest(), PingRequest()]))]
        assert layer.events == ["start", "attempt 1 OK", "end OK sent=2 received=2"]


class Refuser(ClientLayer):
    def on_start(self, call: ClientCall) -> None:
        raise FailedPrecondition("not today", "HOLIDAY")


async def test_an_error_of_a_layer_becomes_the_error_of_the_call(ping: Cluster) -> None:
    outer, inner = Recorder(), Recorder()
    async with ping.open(layers=[outer, Refuser(), inner]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await PingServiceStub(channel).Ping(PingRequest())
    assert e.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    status = from_wire(e.value.trailing_metadata())
    assert status is not None
    assert status.message == "not today"
    assert outer.events == ["start", "end FAILED_PRECONDITION sent=0 received=0"]
    assert inner.events == []


async def test_counts_stay_right_under_a_storm_of_cancelled_calls(ping: Cluster) -> None:
    async def one(i: int) -> PingResponse | None:
        call = ping.stub.Ping(PingRequest(delay=0.01 * (i % 3)), timeout=0.015 if i % 5 == 0 else 5)
        if i % 2:
            await asyncio.sleep(0.001 * (i % 13))
            call.cancel()
        try:
            return await call
        except (asyncio.CancelledError, grpc.aio.AioRpcError):
            return None

    await asyncio.gather(*(one(i) for i in range(300)))
    assert ping.in_flight() == 0
    endpoints = ping.channel.state()["endpoints"]
    assert sum(e["successes"] + sum(e["failures"].values()) for e in endpoints) == sum(
        e["picks"] for e in endpoints
    )
