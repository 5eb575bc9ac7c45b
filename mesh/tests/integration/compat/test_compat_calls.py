"""The four kinds of call: awaiting, reading, writing."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from grpc.aio import EOF, AioRpcError, Metadata, UsageError

from grpcmesh.testing.ping_pb2 import PingRequest
from tests.integration.compat.peer import METHODS, Peer, answers, begin
from tests.integration.replicas import eventually


@pytest.mark.parametrize("method", METHODS)
async def test_a_call_of_each_kind(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(text="x", count=1))
    assert [m.text for m in await answers(call)] == ["x"]
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""
    assert isinstance(await call.initial_metadata(), Metadata)
    assert isinstance(await call.trailing_metadata(), Metadata)
    assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)


@pytest.mark.parametrize("method", METHODS)
async def test_a_failure_of_each_kind(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(fail_code="NOT_FOUND"))
    with pytest.raises(AioRpcError) as e:
        await answers(call)
    error = e.value
    assert isinstance(error, grpc.RpcError)
    assert error.code() is await call.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == await call.details() == "ping-1 was told to fail"
    assert isinstance(error.trailing_metadata(), Metadata)
    assert isinstance(error.initial_metadata(), Metadata)
    assert "was told to fail" in (error.debug_error_string() or "")
    assert "was told to fail" in await call.debug_error_string()
    assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)


async def test_a_unary_call_is_awaited_twice_and_fails_twice(stub: Any) -> None:
    call = stub.Ping(PingRequest(text="x"))
    assert (await call).text == (await call).text == "x"
    call = stub.Ping(PingRequest(fail_code="NOT_FOUND"))
    for _ in range(2):
        with pytest.raises(AioRpcError):
            await call


async def test_calls_run_whether_or_not_they_are_awaited_yet(peer: Peer, stub: Any) -> None:
    calls = [stub.Ping(PingRequest(delay=3600)) for _ in range(3)]
    await eventually(lambda: peer.server.servicer.running == 3)
    for call in calls:
        call.cancel()


async def test_metadata_of_every_shape(peer: Peer, stub: Any) -> None:
    peer.server.servicer.trailing = (("x-trailing", "1"), ("x-trailing", "2"), ("x-bin", b"\xff"))
    for metadata in ((("x-sent", "yes"),), [("x-sent", "yes")], Metadata(("x-sent", "yes"))):
        call = stub.Ping(PingRequest(), metadata=metadata)
        assert (await call).metadata["x-sent"] == "yes"
        trailing = await call.trailing_metadata()
        assert trailing.get_all("x-trailing") == ["1", "2"]
        assert trailing["x-bin"] == b"\xff"


async def test_reading_to_the_end_and_beyond(stub: Any) -> None:
    call = stub.Count(PingRequest(count=2))
    read = [await call.read() for _ in range(4)]
    assert [m.number for m in read[:2]] == [1, 2]
    assert read[2:] == [EOF, EOF]


async def test_reading_a_failure_twice(stub: Any) -> None:
    call = stub.Count(PingRequest(count=2, fail_code="ABORTED", fail_after=1))
    assert (await call.read()).number == 1
    for _ in range(2):
        with pytest.raises(AioRpcError):
            await call.read()


async def test_leaving_an_iteration_and_iterating_again(stub: Any) -> None:
    call = stub.Count(PingRequest(count=4))
    async for message in call:
        assert message.number == 1
        break
    async for message in call:
        assert message.number == 2
        break
    assert (await anext(aiter(call))).number == 3
    assert [m.number async for m in call] == [4]
    assert [m async for m in call] == []


async def test_closing_an_iteration_ends_it_and_not_the_call(stub: Any) -> None:
    call = stub.Count(PingRequest(count=3))
    async with contextlib.aclosing(aiter(call)) as messages:
        assert (await anext(messages)).number == 1
    assert await answers(call) == []
    assert not call.cancelled()
    call.cancel()


async def test_an_iteration_that_failed_is_over(stub: Any) -> None:
    call = stub.Count(PingRequest(count=2, fail_code="ABORTED"))
    with pytest.raises(AioRpcError):
        await answers(call)
    assert await answers(call) == []


async def test_anext_and_its_default(stub: Any) -> None:
    messages = aiter(stub.Count(PingRequest(count=1)))
    assert (await anext(messages)).number == 1
    assert await anext(messages, None) is None
    with pytest.raises(StopAsyncIteration):
        await anext(messages)


async def test_read_after_the_iteration(stub: Any) -> None:
    call = stub.Count(PingRequest(count=1))
    assert len(await answers(call)) == 1
    assert await call.read() is EOF


async def test_iterating_and_reading_are_not_mixed(stub: Any) -> None:
    call = stub.Count(PingRequest(count=3))
    await call.read()
    with pytest.raises(UsageError, match="may not be mixed"):
        aiter(call)
    call = stub.Count(PingRequest(count=3))
    await anext(aiter(call))
    with pytest.raises(UsageError, match="may not be mixed"):
        await call.read()
    call.cancel()


async def test_a_thousand_messages_arrive_in_order(stub: Any) -> None:
    call = stub.Count(PingRequest(count=1000))
    assert [m.number async for m in call] == list(range(1, 1001))


async def test_messages_are_not_lost_when_the_reader_is_late(stub: Any) -> None:
    call = stub.Count(PingRequest(count=3))
    await asyncio.sleep(0.2)
    assert [m.number async for m in call] == [1, 2, 3]


async def test_writing_and_reading_in_turn(stub: Any) -> None:
    call = stub.Echo()
    for text in ("a", "b"):
        await call.write(PingRequest(text=text))
        assert (await call.read()).text == text
    await call.done_writing()
    await call.done_writing()
    assert await call.read() is EOF
    await call.done_writing()


@pytest.mark.parametrize("method", ["Sum", "Echo"])
async def test_writing_after_the_last_request_and_after_the_end(stub: Any, method: str) -> None:
    call = getattr(stub, method)()
    await call.write(PingRequest())
    await call.done_writing()
    with pytest.raises(asyncio.InvalidStateError, match="half closed"):
        await call.write(PingRequest())
    await answers(call)
    with pytest.raises(asyncio.InvalidStateError, match="already finished"):
        await call.write(PingRequest())


@pytest.mark.parametrize("method", ["Sum", "Echo"])
async def test_an_iterator_and_writes_are_not_mixed(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest())
    with pytest.raises(UsageError, match="may not be mixed"):
        await call.write(PingRequest())
    with pytest.raises(UsageError, match="may not be mixed"):
        await call.done_writing()
    assert len(await answers(call)) == 1


async def test_requests_of_an_async_generator(stub: Any) -> None:
    async def requests() -> AsyncIterator[PingRequest]:
        for text in ("a", "b"):
            await asyncio.sleep(0)
            yield PingRequest(text=text)

    assert [m.text async for m in stub.Echo(requests())] == ["a", "b"]
    assert (await stub.Sum(requests())).number == 2


async def test_a_server_that_ends_a_call_while_it_is_written_to(stub: Any) -> None:
    call = stub.Sum()
    await call.write(PingRequest(fail_code="ABORTED"))
    with pytest.raises(AioRpcError):
        await call
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(PingRequest())
