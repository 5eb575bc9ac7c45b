"""A faulty layer, codec, iterator, callback or option ends its call, and nothing else."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.call import Attempt, AttemptLayer, ClientCall, ClientLayer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.endkit import (
    CODECS,
    METHODS,
    Counted,
    CountedAttempts,
    answer,
    begin,
    callable_of,
    fails,
    settle,
)
from tests.integration.replicas import Cluster, cluster
from tests.loops import loop_errors


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 1) as made:
        yield made


class RaisesAtStart(ClientLayer):
    def on_start(self, call: ClientCall) -> None:
        raise ValueError("oh")


class RaisesAtAttempt(ClientLayer):
    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        raise ValueError("oh")


class RaisesAtEnd(ClientLayer):
    def on_end(self, call: ClientCall) -> None:
        raise ValueError("oh")


class CancelsAtEnd(ClientLayer):
    def on_end(self, call: ClientCall) -> None:
        raise asyncio.CancelledError


class AttemptRaisesAtStart(AttemptLayer):
    def on_start(self, attempt: Attempt) -> None:
        raise ValueError("oh")


class AttemptRaisesAtEnd(AttemptLayer):
    def on_end(self, attempt: Attempt) -> None:
        raise ValueError("oh")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "raising",
    [RaisesAtStart, RaisesAtAttempt, RaisesAtEnd, CancelsAtEnd, AttemptRaisesAtStart, AttemptRaisesAtEnd],
)
async def test_a_layer_that_raises_spoils_no_answer(ping: Cluster, method: str, raising: type[Any]) -> None:
    outer, inner, attempts = Counted(), Counted(), CountedAttempts()
    layers: dict[str, Any] = {"layers": [outer, inner], "attempt_layers": [attempts]}
    layers["attempt_layers" if issubclass(raising, AttemptLayer) else "layers"].insert(1, raising())
    async with ping.open(**layers) as channel:
        call = begin(PingServiceStub(channel), method, PingRequest(text="x", count=1))
        assert (await answer(call)).text == "x"
        async with asyncio.timeout(20):
            assert await call.code() is grpc.StatusCode.OK
        assert await fails(begin(PingServiceStub(channel), method, PingRequest(fail_code="NOT_FOUND")))
        for layer in (outer, inner, attempts):
            assert (layer.entered, layer.codes) == (2, ["OK", "NOT_FOUND"])
        (errors,) = [f for f in channel.collect() if f.name == "mesh_layer_errors"]
        assert sum(s.value for s in errors.samples) == 2
        settle(channel)


def bad(_: Any) -> Any:
    raise ValueError("unreadable")


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("codec", CODECS)
async def test_a_codec_that_raises_ends_its_call(ping: Cluster, method: str, codec: str) -> None:
    layer, attempts = Counted(), CountedAttempts()
    async with ping.open(layers=[layer], attempt_layers=[attempts]) as channel:
        await channel.channel_ready()
        stub = {method: callable_of(channel, method, **{codec: bad})}
        request = PingRequest(count=1)
        call = stub[method](request if method in ("Ping", "Count") else iter([request]))
        error = await fails(call)
        assert error.code() is grpc.StatusCode.INTERNAL
        assert "ValueError: unreadable" in (error.details() or "")
        assert isinstance(error.__cause__, ValueError)
        assert layer.codes == ["INTERNAL"]
        assert attempts.entered == len(attempts.codes)
        settle(channel)


async def test_a_request_that_cannot_be_written_ends_its_call(ping: Cluster) -> None:
    call = callable_of(ping.channel, "Echo", request_serializer=bad)()
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await call.write(PingRequest())
    assert e.value.code() is grpc.StatusCode.INTERNAL
    assert await call.code() is grpc.StatusCode.INTERNAL
    settle(ping.channel)


def raising_requests() -> Iterator[PingRequest]:
    yield PingRequest()
    raise ValueError("no more")


async def raising_requests_async() -> AsyncIterator[PingRequest]:
    for request in raising_requests():
        yield request


@pytest.mark.parametrize("method", ["Sum", "Echo"])
@pytest.mark.parametrize("requests", [raising_requests, raising_requests_async])
async def test_requests_that_raise_end_their_call(ping: Cluster, method: str, requests: Any) -> None:
    call = getattr(ping.stub, method)(requests())
    with pytest.raises(grpc.aio.AioRpcError) as e:
        _ = [m async for m in call] if method == "Echo" else await call
    assert e.value.code() is grpc.StatusCode.UNKNOWN
    assert "ValueError: no more" in (e.value.details() or "")
    assert isinstance(e.value.__cause__, ValueError)
    settle(ping.channel)


async def test_requests_that_are_no_iterator_end_their_call(ping: Cluster) -> None:
    error = await fails(ping.stub.Sum(5))  # type: ignore[arg-type]
    assert error.code() is grpc.StatusCode.UNKNOWN


async def test_a_done_callback_that_raises_is_told_to_the_loop_only(ping: Cluster) -> None:
    told = loop_errors()
    seen: list[object] = []
    call = ping.stub.Ping(PingRequest(text="x"))
    call.add_done_callback(bad)
    call.add_done_callback(seen.append)
    assert (await call).text == "x"
    assert await call.code() is grpc.StatusCode.OK
    assert seen == [call]
    assert "done callback of /mesh.testing.PingService/Ping" in told[0]["message"]


async def test_credentials_that_grpc_does_not_take_end_their_call(ping: Cluster) -> None:
    error = await fails(ping.stub.Ping(PingRequest(), credentials="none"))  # type: ignore[arg-type]
    assert error.code() is grpc.StatusCode.INTERNAL
    settle(ping.channel)


async def test_a_balancer_that_raises_ends_its_call(ping: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ping.channel._core.balancer, "pick", bad)
    error = await fails(ping.stub.Ping(PingRequest()))
    assert error.code() is grpc.StatusCode.INTERNAL
    settle(ping.channel)
