"""The four kinds of call on a MeshChannel, and what a call object promises."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest

from grpcmesh.call import Kind, Method, ServerCall, current_call
from grpcmesh.testing.ping_pb2 import PingRequest
from tests.integration.channelkit import answer, begin, make
from tests.integration.replicas import Cluster, cluster, eventually


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 2) as made:
        yield made


async def test_a_unary_call_tells_which_endpoint_answered(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="hello"))
    response = await call
    assert response.text == "hello"
    assert call.endpoint in {s.endpoint for s in ping.servers}
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""
    assert call.done()
    assert not call.cancelled()


async def test_a_call_may_be_awaited_twice(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="x"))
    assert (await call).text == (await call).text == "x"


async def test_a_server_stream_is_iterated_to_its_end(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest(count=3))
    assert [m.number async for m in call] == [1, 2, 3]
    assert await call.code() is grpc.StatusCode.OK


async def test_a_server_stream_is_read_message_by_message(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest(count=2))
    messages = [await call.read() for _ in range(3)]
    assert [m.number for m in messages[:2]] == [1, 2]
    assert messages[2] is grpc.aio.EOF


async def test_a_client_stream_takes_an_iterator(ping: Cluster) -> None:
    requests = [PingRequest() for _ in range(3)]
    assert (await ping.stub.Sum(iter(requests))).number == 3


async def test_a_client_stream_is_written(ping: Cluster) -> None:
    call = ping.stub.Sum()
    for _ in range(3):
        await call.write(PingRequest())
    await call.done_writing()
    assert (await call).number == 3


async def test_a_bidirectional_stream_takes_an_async_iterator(ping: Cluster) -> None:
    async def requests() -> AsyncIterator[PingRequest]:
        for text in ("a", "b"):
            yield PingRequest(text=text)

    assert [m.text async for m in ping.stub.Echo(requests())] == ["a", "b"]


async def test_a_bidirectional_stream_is_written_and_read_in_turn(ping: Cluster) -> None:
    call = ping.stub.Echo()
    for text in ("a", "b"):
        await call.write(PingRequest(text=text))
        assert (await call.read()).text == text
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_metadata_goes_both_ways(ping: Cluster) -> None:
    for server in ping.servers:
        server.servicer.trailing = (("x-trailing", "yes"),)
    call = ping.stub.Ping(PingRequest(), metadata=(("x-sent", "yes"),))
    assert (await call).metadata["x-sent"] == "yes"
    assert ("x-trailing", "yes") in tuple(await call.trailing_metadata())
    assert len(tuple(await call.initial_metadata())) >= 0


async def test_a_request_that_cannot_be_serialized_is_an_error_of_the_call(ping: Cluster) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await ping.stub.Ping("no message")  # type: ignore[arg-type]
    assert e.value.code() is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("method", ["Ping", "Count", "Sum", "Echo"])
async def test_an_error_is_told_in_each_kind(ping: Cluster, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await make(ping, method, PingRequest(fail_code="NOT_FOUND"))
    assert e.value.code() is grpc.StatusCode.NOT_FOUND
    assert "was told to fail" in (e.value.details() or "")
    assert ping.in_flight() == 0


async def test_a_call_starts_when_it_is_made_not_when_it_is_awaited(ping: Cluster) -> None:
    calls = [ping.stub.Ping(PingRequest(delay=3600)) for _ in range(4)]
    await eventually(lambda: sum(s.servicer.running for s in ping.servers) == 4)
    for call in calls:
        call.cancel()


async def test_a_call_that_nobody_awaits_is_made_and_counted(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="forgotten"))
    await eventually(call.done)
    assert ping.in_flight() == 0
    assert sum(e["successes"] for e in ping.channel.state()["endpoints"]) == 1


@pytest.mark.parametrize("method", ["Ping", "Count", "Sum", "Echo"])
async def test_a_call_that_is_dropped_is_cancelled(ping: Cluster, method: str) -> None:
    call = begin(ping, method, PingRequest(delay=30))
    await eventually(lambda: sum(s.servicer.running for s in ping.servers) == 1)
    assert ping.in_flight() == 1
    del call
    assert ping.in_flight() == 0
    assert [e["failures"] for e in ping.channel.state()["endpoints"] if e["failures"]] == [{"CANCELLED": 1}]
    if method in ("Ping", "Count"):
        # grpcio 1.85.1 leaves the handlers of request streams running.
        await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)


async def test_a_call_with_a_done_callback_is_not_dropped(ping: Cluster) -> None:
    seen: list[object] = []
    ping.stub.Ping(PingRequest()).add_done_callback(seen.append)
    gc.collect()
    await eventually(lambda: seen)
    assert sum(s.servicer.calls["Ping"] for s in ping.servers) == 1


async def test_cancelling_a_call_reaches_the_server(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(delay=30))
    await eventually(lambda: sum(s.servicer.running for s in ping.servers) == 1)
    assert call.cancel()
    assert not call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_a_call_cancelled_at_once_counts_nothing_in_flight(ping: Cluster) -> None:
    for _ in range(20):
        ping.stub.Ping(PingRequest()).cancel()
    await eventually(lambda: ping.in_flight() == 0)


async def test_a_task_that_is_cancelled_cancels_its_call(ping: Cluster) -> None:
    task = asyncio.ensure_future(answer(ping.stub.Ping(PingRequest(delay=30))))
    await eventually(lambda: sum(s.servicer.running for s in ping.servers) == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_a_stream_that_was_left_early_is_iterated_on(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest(count=3))
    async for first in call:
        assert first.number == 1
        break
    assert (await anext(aiter(call))).number == 2
    assert [m.number async for m in call] == [3]
    assert [m async for m in call] == []
    assert await call.read() is grpc.aio.EOF


async def test_a_stream_that_was_left_early_and_dropped_is_cancelled(ping: Cluster) -> None:
    async for _ in ping.stub.Count(PingRequest()):
        break
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_a_stream_that_nobody_refers_to_is_cancelled(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest())
    await call.read()
    del call
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_done_callbacks_run_once_with_the_call(ping: Cluster) -> None:
    seen: list[object] = []
    call = ping.stub.Ping(PingRequest())
    call.add_done_callback(seen.append)
    await call
    call.add_done_callback(seen.append)
    assert seen == [call, call]


async def test_a_deadline_ends_the_call_and_is_known_to_the_server(ping: Cluster) -> None:
    assert 0 < (await ping.stub.Ping(PingRequest())).time_remaining < 5.1  # the wire rounds up
    assert (await ping.stub.Ping(PingRequest(), timeout=4)).time_remaining < 4.1
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await ping.stub.Ping(PingRequest(delay=10), timeout=0.05)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_deadline_of_the_call_being_served_is_inherited(ping: Cluster) -> None:
    now = asyncio.get_running_loop().time()
    served = ServerCall(Method.parse("/a.B/C", Kind.UNARY), None, now, {}, deadline=now + 4.0)  # type: ignore[arg-type]
    token = current_call.set(served)
    try:
        assert (await ping.stub.Ping(PingRequest())).time_remaining < 4.1
        served.deadline = now - 1
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await ping.stub.Ping(PingRequest())
    finally:
        current_call.reset(token)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert sum(s.servicer.calls["Ping"] for s in ping.servers) == 1
