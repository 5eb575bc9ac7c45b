"""Options of a call and of a channel, the state of a channel, and its end."""

import asyncio
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError, UsageError

from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.compat.peer import METHODS, Peer, answers, begin
from tests.integration.replicas import eventually


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
    call = stub.Ping(PingRequest(delay=0.05))
    await eventually(lambda: peer.server.servicer.running == 1)
    await channel.close(grace=60)
    assert (await call).replica == "ping-1"


async def test_a_call_that_outlasts_the_grace_is_cancelled(peer: Peer) -> None:
    channel = await peer.open()
    call = PingServiceStub(channel).Ping(PingRequest(delay=3600))
    await eventually(lambda: peer.server.servicer.running == 1)
    await channel.close(grace=0.3)
    assert call.cancelled()


async def test_a_channel_is_a_context_manager(peer: Peer) -> None:
    async with await peer.open() as channel:
        assert (await PingServiceStub(channel).Ping(PingRequest())).replica == "ping-1"
    assert channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN
