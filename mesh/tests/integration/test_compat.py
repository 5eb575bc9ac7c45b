"""The same test bodies on a grpc.aio channel and on a MeshChannel. See docs/compatibility.md."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import grpc
import pytest
from grpc.aio import EOF, AioRpcError, Metadata, UsageError

from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import MeshConfig
from grpcmesh.resolver import StaticResolver
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.replicas import eventually

KINDS = ["grpc.aio", "mesh"]
METHODS = ["Ping", "Count", "Sum", "Echo"]


class Peer:
    """A plaintext server, and channels of one kind to it."""

    def __init__(self, kind: str, stack: AsyncExitStack) -> None:
        self.kind, self.stack = kind, stack
        self.server = PingServer(None)

    async def open(self, *interceptors: Any, **options: Any) -> grpc.aio.Channel:
        """A channel; `options` are channel arguments with `__` for `.`."""
        arguments = [(name.replace("__", "."), value) for name, value in options.items()]
        channel: grpc.aio.Channel
        if self.kind == "mesh":
            channel = MeshChannel(
                "ping",
                MeshConfig("client"),
                identity=None,
                resolver=StaticResolver([self.server.endpoint]),
                options=arguments,
                interceptors=interceptors,
            )
        else:
            arguments.append(("grpc.use_local_subchannel_pool", 1))
            channel = grpc.aio.insecure_channel(self.server.endpoint, arguments, interceptors=interceptors)
        self.stack.push_async_callback(channel.close)
        return channel


@pytest.fixture(params=KINDS)
async def peer(request: pytest.FixtureRequest) -> AsyncIterator[Peer]:
    async with AsyncExitStack() as stack:
        made = Peer(request.param, stack)
        await stack.enter_async_context(made.server)
        yield made


@pytest.fixture
async def channel(peer: Peer) -> grpc.aio.Channel:
    return await peer.open()


@pytest.fixture
async def stub(channel: grpc.aio.Channel) -> Any:
    return PingServiceStub(channel)


def begin(stub: Any, method: str, request: PingRequest, **options: Any) -> Any:
    sent = request if method in ("Ping", "Count") else iter([request])
    return getattr(stub, method)(sent, **options)


async def answers(call: Any) -> list[Any]:
    return [m async for m in call] if hasattr(call, "__aiter__") else [await call]


# -- the four kinds ------------------------------------------------------------------------------


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
    calls = [stub.Ping(PingRequest(delay=0.05)) for _ in range(3)]
    await eventually(lambda: peer.server.servicer.running == 3)
    assert len(await asyncio.gather(*calls)) == 3


async def test_metadata_of_every_shape(peer: Peer, stub: Any) -> None:
    peer.server.servicer.trailing = (("x-trailing", "1"), ("x-trailing", "2"), ("x-bin", b"\xff"))
    for metadata in ((("x-sent", "yes"),), [("x-sent", "yes")], Metadata(("x-sent", "yes"))):
        call = stub.Ping(PingRequest(), metadata=metadata)
        assert (await call).metadata["x-sent"] == "yes"
        trailing = await call.trailing_metadata()
        assert trailing.get_all("x-trailing") == ["1", "2"]
        assert trailing["x-bin"] == b"\xff"


# -- reading -------------------------------------------------------------------------------------


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


# -- writing -------------------------------------------------------------------------------------


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


# -- cancelling ----------------------------------------------------------------------------------


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


async def test_cancelling_the_task_that_awaits_the_code_cancels_no_call(stub: Any) -> None:
    call = stub.Ping(PingRequest(delay=0.2))
    for wait in (call.code, call.initial_metadata, call.trailing_metadata, call.details):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)
    assert (await call).replica == "ping-1"


async def test_a_call_that_the_server_cancels_is_an_error(stub: Any) -> None:
    with pytest.raises(AioRpcError) as e:
        await stub.Ping(PingRequest(fail_code="CANCELLED"))
    assert e.value.code() is grpc.StatusCode.CANCELLED


# -- time, callbacks, waiting --------------------------------------------------------------------


async def test_a_deadline(stub: Any) -> None:
    call = stub.Ping(PingRequest(), timeout=5)
    assert 4 < (call.time_remaining() or 0) <= 5
    assert 4 < (await call).time_remaining < 5.1
    for method in METHODS:
        call = begin(stub, method, PingRequest(delay=30), timeout=0.05)
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


# -- options of a call and of a channel ----------------------------------------------------------


@pytest.mark.parametrize("compression", list(grpc.Compression))
@pytest.mark.parametrize("method", METHODS)
async def test_compression(stub: Any, method: str, compression: grpc.Compression) -> None:
    text = "x" * 10_000
    call = begin(stub, method, PingRequest(text=text, count=1), compression=compression)
    assert [m.text for m in await answers(call)] == [text]


async def test_sizes_of_messages_are_set_by_channel_arguments(peer: Peer, stub: Any) -> None:
    large = PingRequest(text="x" * 1000)
    small = PingServiceStub(await peer.open(grpc__max_receive_message_length=500))
    with pytest.raises(AioRpcError) as e:
        await small.Ping(large)
    assert e.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    unsendable = PingServiceStub(await peer.open(grpc__max_send_message_length=500))
    with pytest.raises(AioRpcError) as e:
        await unsendable.Ping(large)
    assert e.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert len((await stub.Ping(large)).text) == 1000


async def test_call_credentials_over_plaintext_are_refused(stub: Any) -> None:
    with pytest.raises(UsageError, match="secure channels"):
        stub.Ping(PingRequest(), credentials=grpc.access_token_call_credentials("t"))


async def test_methods_without_codecs_take_and_give_bytes(channel: grpc.aio.Channel) -> None:
    request = PingRequest(text="x", count=1).SerializeToString()
    path = "/mesh.testing.PingService/"
    unary: Any = channel.unary_unary(path + "Ping")
    assert PingResponse.FromString(await unary(request)).text == "x"
    stream: Any = channel.unary_stream(path + "Count")
    assert [PingResponse.FromString(m).text async for m in stream(request)] == ["x"]
    client: Any = channel.stream_unary(path + "Sum")
    assert PingResponse.FromString(await client(iter([request]))).number == 1
    both: Any = channel.stream_stream(path + "Echo")
    assert [PingResponse.FromString(m).text async for m in both(iter([request]))] == ["x"]


async def test_a_method_that_the_server_does_not_have(channel: grpc.aio.Channel) -> None:
    call: Any = channel.unary_unary("/no.Such/Method")(b"")
    with pytest.raises(AioRpcError) as e:
        await call
    assert e.value.code() is grpc.StatusCode.UNIMPLEMENTED


# -- the channel ---------------------------------------------------------------------------------


async def test_the_state_of_a_channel(peer: Peer) -> None:
    states = grpc.ChannelConnectivity
    channel = await peer.open()
    assert channel.get_state() is states.IDLE
    async with asyncio.timeout(10):
        await channel.channel_ready()
        assert channel.get_state() is states.READY
        await peer.server.stop()
        await channel.wait_for_state_change(states.READY)
    assert channel.get_state() is not states.READY
    await channel.close()
    assert channel.get_state() is states.SHUTDOWN


async def test_trying_to_connect(peer: Peer) -> None:
    channel = await peer.open()
    assert channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.IDLE
    async with asyncio.timeout(10):
        await channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE)
    assert channel.get_state() is not grpc.ChannelConnectivity.IDLE


async def test_a_closed_channel_takes_no_calls(peer: Peer) -> None:
    channel = await peer.open()
    stub = PingServiceStub(channel)
    await channel.close()
    await channel.close()
    for method in METHODS:
        with pytest.raises(UsageError):
            await answers(begin(stub, method, PingRequest()))
    for wait in (channel.channel_ready, lambda: channel.wait_for_state_change(grpc.ChannelConnectivity.IDLE)):
        with pytest.raises(UsageError):
            await wait()


@pytest.mark.parametrize("method", METHODS)
async def test_closing_a_channel_cancels_its_calls(peer: Peer, method: str) -> None:
    channel = await peer.open()
    call = begin(PingServiceStub(channel), method, PingRequest(delay=30))
    await eventually(lambda: peer.server.servicer.running == 1)
    await channel.close()
    assert call.cancelled()
    with pytest.raises(asyncio.CancelledError):
        await answers(call)


async def test_a_grace_lets_calls_end(peer: Peer) -> None:
    channel = await peer.open()
    stub = PingServiceStub(channel)
    short, long = stub.Ping(PingRequest(delay=0.05)), stub.Ping(PingRequest(delay=30))
    await eventually(lambda: peer.server.servicer.running == 2)
    await channel.close(grace=0.3)
    assert (await short).replica == "ping-1"
    assert long.cancelled()


async def test_a_channel_is_a_context_manager(peer: Peer) -> None:
    async with await peer.open() as channel:
        assert (await PingServiceStub(channel).Ping(PingRequest())).replica == "ping-1"
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


# -- interceptors --------------------------------------------------------------------------------


class Tagging(grpc.aio.UnaryUnaryClientInterceptor):
    """Adds metadata, and notes what it sees."""

    def __init__(self, tag: str, log: list[str]) -> None:
        self.tag, self.log = tag, log

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self.go_on(continuation, details, request)

    async def go_on(self, continuation: Any, details: Any, request: Any) -> Any:
        self.log.append(f"{self.tag} {details.method.decode().rpartition('/')[2]}")
        details.metadata.add("x-tag", self.tag)
        return await continuation(details, request)


class TaggingUnaryStream(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, tagging: Tagging) -> None:
        self.tagging = tagging

    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return await self.tagging.go_on(continuation, details, request)


class TaggingStreamUnary(grpc.aio.StreamUnaryClientInterceptor):
    def __init__(self, tagging: Tagging) -> None:
        self.tagging = tagging

    async def intercept_stream_unary(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await self.tagging.go_on(continuation, details, requests)


class TaggingStreamStream(grpc.aio.StreamStreamClientInterceptor):
    def __init__(self, tagging: Tagging) -> None:
        self.tagging = tagging

    async def intercept_stream_stream(self, continuation: Any, details: Any, requests: Any) -> Any:
        return await self.tagging.go_on(continuation, details, requests)


def tagging(tag: str, log: list[str]) -> list[Any]:
    """Of each kind."""
    plain = Tagging(tag, log)
    return [plain, TaggingUnaryStream(plain), TaggingStreamUnary(plain), TaggingStreamStream(plain)]


@pytest.mark.parametrize("method", METHODS)
async def test_interceptors_of_each_kind(peer: Peer, method: str) -> None:
    log: list[str] = []
    stub = PingServiceStub(await peer.open(*tagging("a", log), *tagging("b", log)))
    call = begin(stub, method, PingRequest(text="x", count=1), metadata=(("x-own", "1"),), timeout=5)
    seen: list[object] = []
    call.add_done_callback(seen.append)
    (response,) = await answers(call)
    assert (response.text, response.metadata["x-own"], response.metadata["x-tag"]) == ("x", "1", "b")
    assert log == [f"a {method}", f"b {method}"]
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""
    assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
    assert seen == [call]


@pytest.mark.parametrize("method", METHODS)
async def test_a_failure_passes_through_interceptors(peer: Peer, method: str) -> None:
    stub = PingServiceStub(await peer.open(*tagging("a", [])))
    call = begin(stub, method, PingRequest(fail_code="NOT_FOUND"))
    with pytest.raises(AioRpcError) as e:
        await answers(call)
    assert e.value.code() is await call.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("method", METHODS)
async def test_cancelling_an_intercepted_call(peer: Peer, method: str) -> None:
    stub = PingServiceStub(await peer.open(*tagging("a", [])))
    call = begin(stub, method, PingRequest(delay=30))
    await eventually(lambda: peer.server.servicer.running == 1)
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answers(call)
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert (call.done(), call.cancelled()) == (True, True)


@pytest.mark.parametrize("method", METHODS)
async def test_cancelling_a_call_in_its_interceptors(peer: Peer, method: str) -> None:
    stub = PingServiceStub(await peer.open(*tagging("a", [])))
    call = begin(stub, method, PingRequest())
    assert call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answers(call)
    assert await call.code() is grpc.StatusCode.CANCELLED
    assert (call.done(), call.cancelled()) == (True, True)


class Cached(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return PingResponse(text="cached")


class Refusing(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        raise AioRpcError(grpc.StatusCode.ABORTED, Metadata(), Metadata(), "no")


class Retrying(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(details, request)
        if await call.code() is not grpc.StatusCode.OK:
            return await continuation(details, PingRequest(text="again"))
        return call


class Renaming(grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details._replace(method=b"/mesh.testing.PingService/Poke"), request)


class Doubling(grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        call = await continuation(details, request)

        async def doubled() -> AsyncIterator[Any]:
            async for response in call:
                yield response
                yield response

        return doubled()


async def test_an_interceptor_answers_refuses_repeats_or_renames(peer: Peer) -> None:
    cached = PingServiceStub(await peer.open(Cached())).Ping(PingRequest())
    assert (await cached).text == "cached"
    assert await cached.code() is grpc.StatusCode.OK
    refused = PingServiceStub(await peer.open(Refusing())).Ping(PingRequest())
    with pytest.raises(AioRpcError) as e:
        await refused
    assert e.value.code() is await refused.code() is grpc.StatusCode.ABORTED
    repeated = PingServiceStub(await peer.open(Retrying())).Ping(PingRequest(fail_code="ABORTED"))
    assert (await repeated).text == "again"
    await PingServiceStub(await peer.open(Renaming())).Ping(PingRequest())
    assert peer.server.servicer.calls["Poke"] == 1


async def test_an_interceptor_changes_responses(peer: Peer) -> None:
    stub = PingServiceStub(await peer.open(Doubling()))
    assert [m.number async for m in stub.Count(PingRequest(count=2))] == [1, 1, 2, 2]


@pytest.mark.parametrize("method", ["Sum", "Echo"])
async def test_requests_written_through_interceptors(peer: Peer, method: str) -> None:
    call = getattr(PingServiceStub(await peer.open(*tagging("a", []))), method)()
    for text in ("a", "b"):
        await call.write(PingRequest(text=text))
        if method == "Echo":
            assert (await call.read()).text == text
    await call.done_writing()
    if method == "Echo":
        assert await call.read() is EOF
    else:
        assert (await call).number == 2
    with pytest.raises(asyncio.InvalidStateError):
        await call.write(PingRequest())


async def test_what_is_no_interceptor_is_refused(peer: Peer) -> None:
    with pytest.raises(ValueError, match="object"):
        await peer.open(object())


def bases() -> list[tuple[str, type[Any], Callable[[Any], Any]]]:
    return [
        ("Ping", grpc.aio.UnaryUnaryCall, lambda stub: stub.Ping(PingRequest())),
        ("Count", grpc.aio.UnaryStreamCall, lambda stub: stub.Count(PingRequest(count=1))),
        ("Sum", grpc.aio.StreamUnaryCall, lambda stub: stub.Sum(iter([]))),
        ("Echo", grpc.aio.StreamStreamCall, lambda stub: stub.Echo(iter([]))),
    ]


@pytest.mark.parametrize(("method", "base", "make"), bases())
async def test_types(stub: Any, method: str, base: type[Any], make: Callable[[Any], Any]) -> None:
    call = make(stub)
    assert isinstance(call, base)
    assert isinstance(call, grpc.aio.Call)
    assert isinstance(call, grpc.aio.RpcContext)
    await call.code() if hasattr(call, "__await__") else await answers(call)
