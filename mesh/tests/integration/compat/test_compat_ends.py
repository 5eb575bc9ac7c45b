"""Compatibility of cancellation, deadlines, callbacks and waiting with gRPC."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError

from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.compat.peer import METHODS, Peer, answers, begin
from tests.integration.replicas import eventually


@pytest.mark.parametrize("method", METHODS)
async def test_cancelling_a_call(peer: Peer, stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(delay=30))
    await eventually(lambda: peer.server.servicer.running == 1)
    seen: list[object] = []
    call.add_done_callback(seen.append)
    assert call.cancel()
    assert not call.cancel()
    assert seen == [call]
    with pytest.raises(asyncio.CancelledError):
        await answers(call)
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert await call.details() == "Locally cancelled by application!"
    assert (call.done(), call.cancelled()) == (True, True)
    assert tuple(await call.trailing_metadata()) == ()


@pytest.mark.parametrize("method", METHODS)
async def test_cancelling_a_call_before_it_has_begun(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest())
    assert call.cancel()
    assert await call.code() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("method", METHODS)
async def test_cancelling_the_task_that_awaits_a_call(peer: Peer, stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(delay=30))
    task = asyncio.ensure_future(answers(call))
    await eventually(lambda: peer.server.servicer.running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert call.cancelled()


async def test_a_timeout_around_a_call(stub: Any) -> None:
    call = stub.Ping(PingRequest(delay=30))
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(call, 0.05)
    assert call.cancelled()


async def test_cancelling_the_task_that_waits_for_a_connection_cancels_its_call(peer: Peer) -> None:
    await peer.server.stop()
    stub: Any = PingServiceStub(await peer.open())
    unary = stub.Ping(PingRequest(), wait_for_ready=True, timeout=30)
    stream = stub.Count(PingRequest(), wait_for_ready=True, timeout=30)
    written = stub.Sum(wait_for_ready=True, timeout=30)
    for call, operation in (
        (unary, unary.wait_for_connection),
        (stream, stream.wait_for_connection),
        (written, written.done_writing),
    ):
        task = asyncio.ensure_future(operation())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert call.cancelled()


async def test_cancelling_the_task_that_awaits_the_code_cancels_no_call(stub: Any) -> None:
    call = stub.Ping(PingRequest(delay=2))
    for wait in (call.code, call.initial_metadata, call.trailing_metadata, call.details):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)
    assert (await call).replica == "ping-1"


async def test_a_call_that_the_server_cancels_is_an_error(stub: Any) -> None:
    with pytest.raises(AioRpcError) as e:
        await stub.Ping(PingRequest(fail_code="CANCELLED"))
    assert e.value.code() is grpc.StatusCode.CANCELLED


async def test_a_deadline(stub: Any) -> None:
    call = stub.Ping(PingRequest(), timeout=100)
    assert 50 < (call.time_remaining() or 0) <= 100
    assert 50 < (await call).time_remaining <= 101  # the wire rounds up
    # Not shorter: in grpc.aio a deadline that passes while requests are still sent is CANCELLED or INTERNAL.
    for call in [begin(stub, method, PingRequest(delay=30), timeout=4) for method in METHODS]:
        with pytest.raises(AioRpcError) as e:
            await answers(call)
        assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert (e.value.details() or "").startswith("Deadline Exceeded")
        assert call.time_remaining() == 0


async def test_a_deadline_that_is_over_before_the_call(stub: Any) -> None:
    with pytest.raises(AioRpcError) as e:
        await stub.Ping(PingRequest(), timeout=-1)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


@pytest.mark.parametrize("method", METHODS)
async def test_done_callbacks_before_and_after_the_end(stub: Any, method: str) -> None:
    seen: list[object] = []
    call = begin(stub, method, PingRequest(count=1))
    call.add_done_callback(seen.append)
    await answers(call)
    await call.code()
    assert seen == [call]
    call.add_done_callback(seen.append)
    assert seen == [call, call]


@pytest.mark.parametrize("method", METHODS)
async def test_waiting_for_the_connection(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(count=1, text="x"))
    assert await call.wait_for_connection() is None
    assert [m.text for m in await answers(call)] == ["x"]


async def test_waiting_for_a_connection_that_fails(peer: Peer, channel: grpc.aio.Channel) -> None:
    await peer.server.stop()
    for make in (channel.unary_unary, channel.unary_stream):
        call: Any = make("/mesh.testing.PingService/Poke")(b"", timeout=5)
        with pytest.raises(AioRpcError) as e:
            await call.wait_for_connection()
        assert e.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_wait_for_ready_outlasts_an_outage_and_without_it_a_call_fails(peer: Peer, stub: Any) -> None:
    await stub.Ping(PingRequest())
    await peer.server.stop()
    with pytest.raises(AioRpcError) as e:
        await asyncio.gather(*(stub.Poke(PingRequest(), timeout=5) for _ in range(20)))
    assert e.value.code() is grpc.StatusCode.UNAVAILABLE
    call = stub.Poke(PingRequest(), wait_for_ready=True, timeout=20)
    await asyncio.sleep(0.3)
    assert not call.done()
    await peer.server.start()
    assert (await call).replica == "ping-1"
