"""Helpers shared by the tests of how calls end."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from grpcmesh.call import Attempt, AttemptLayer, ClientCall, ClientLayer
from grpcmesh.client.channel import MeshChannel
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse

METHODS = ["Ping", "Count", "Sum", "Echo"]
SERVICE = "/mesh.testing.PingService/"
CODECS = {
    "request_serializer": PingRequest.SerializeToString,
    "response_deserializer": PingResponse.FromString,
}


class Counted(ClientLayer):
    """A layer that counts the calls that begin and end, and their status codes."""

    def __init__(self) -> None:
        self.entered = 0
        self.codes: list[str] = []

    def on_start(self, call: ClientCall) -> None:
        self.entered += 1

    def on_end(self, call: ClientCall) -> None:
        self.codes.append(call.code.name)


class CountedAttempts(AttemptLayer):
    def __init__(self) -> None:
        self.entered = 0
        self.codes: list[str] = []

    def on_start(self, attempt: Attempt) -> None:
        self.entered += 1

    def on_end(self, attempt: Attempt) -> None:
        self.codes.append(attempt.code.name)


def begin(stub: Any, method: str, request: PingRequest, **options: Any) -> Any:
    """Make a call and return it without waiting. A request stream has this one request."""
    return getattr(stub, method)(
        request if method in ("Ping", "Poke", "Count") else iter([request]), **options
    )


def callable_of(channel: Any, method: str, **codec: Callable[[Any], Any]) -> Any:
    """Return the multi-callable of a method; `codec` replaces one of its `CODECS`."""
    make = {
        "Ping": channel.unary_unary,
        "Count": channel.unary_stream,
        "Sum": channel.stream_unary,
        "Echo": channel.stream_stream,
    }[method]
    return make(SERVICE + method, **{**CODECS, **codec})


async def answer(call: Any) -> Any:
    """Return the only response of a call."""
    if not hasattr(call, "read"):
        return await call
    responses = [response async for response in call]
    assert len(responses) == 1
    return responses[0]


async def fails(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await answer(call)
    assert call.done()
    assert await call.code() is e.value.code()
    return e.value


def settle(channel: MeshChannel) -> None:
    """Assert that the channel holds nothing of any call."""
    assert not channel._core.calls
    assert not channel._core.pool.waiting
    state = channel.state()
    assert [e["in_flight"] for e in state["endpoints"]] == [0] * len(state["endpoints"])
    assert not any(connection.attempts for connection in channel._core.pool._runs)
