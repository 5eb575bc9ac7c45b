"""Interceptors of grpc.aio, and the types of what a channel gives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
import pytest
from grpc.aio import EOF, AioRpcError, Metadata

from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.compat.peer import METHODS, Peer, answers, begin
from tests.integration.replicas import eventually


class Tagging(grpc.aio.UnaryUnaryClientInterceptor):
    """An interceptor that adds metadata and records what it sees."""

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
    """Return an interceptor of each of the four kinds."""
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


class Holding(Tagging):
    """An interceptor that never finishes."""

    async def go_on(self, continuation: Any, details: Any, request: Any) -> Any:
        await asyncio.Event().wait()


@pytest.mark.parametrize("method", METHODS)
async def test_closing_a_channel_cancels_calls_in_their_interceptors(peer: Peer, method: str) -> None:
    holding = Holding("a", [])
    channel = await peer.open(
        holding, TaggingUnaryStream(holding), TaggingStreamUnary(holding), TaggingStreamStream(holding)
    )
    call = begin(PingServiceStub(channel), method, PingRequest())
    reading = asyncio.ensure_future(answers(call))
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await channel.close()
        with pytest.raises(asyncio.CancelledError):
            await reading
    assert (call.done(), call.cancelled()) == (True, True)


async def test_a_grace_lets_interceptors_answer(peer: Peer) -> None:
    class Late(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            call = await continuation(details, request)
            await call
            await asyncio.sleep(0.05)
            return call

    channel = await peer.open(Late())
    call = PingServiceStub(channel).Ping(PingRequest(text="x"))
    await eventually(lambda: peer.server.servicer.calls["Ping"] == 1)
    await channel.close(30)
    assert (await call).text == "x"


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
