"""Calls that are measured: each becomes one sample of the report."""

from collections.abc import Callable
from typing import Any, Protocol

import grpc

from grpcmesh.status import replica_of
from services.loadgen.engine import Recorder

#: What `ChannelSource` gives: the mesh's `Member.channel`, or anything else that makes grpc.aio channels.
ChannelSource = Callable[[str], grpc.aio.Channel]

#: Metadata of a call.
Metadata = tuple[tuple[str, str], ...]


class Call(Protocol):
    """What is known of every call of grpc.aio."""

    async def trailing_metadata(self) -> Any: ...


class UnaryCall(Call, Protocol):
    """With one response."""

    def __await__(self) -> Any: ...


class StreamCall(Call, Protocol):
    """With a stream of them."""

    def __aiter__(self) -> Any: ...

    def cancel(self) -> bool: ...


async def measured(recorder: Recorder, target: str, method: str, call: UnaryCall) -> Any:
    """Awaits a call and records it; None where it failed."""
    code, response = "OK", None
    try:
        response = await call
    except grpc.aio.AioRpcError as e:
        code = e.code().name
    await record(recorder, target, method, call, code)
    return response


async def measured_list(recorder: Recorder, target: str, method: str, call: StreamCall) -> list[Any] | None:
    """Reads a stream to its end and records it; None where it failed."""
    code, responses = "OK", list[Any]()
    try:
        responses = [response async for response in call]
    except grpc.aio.AioRpcError as e:
        code = e.code().name
    await record(recorder, target, method, call, code)
    return responses if code == "OK" else None


async def record(recorder: Recorder, target: str, method: str, call: Call, code: str) -> None:
    """Records a call that has ended."""
    recorder.record(target, method, code, await _answered_by(call), getattr(call, "attempts", 1))


async def _answered_by(call: Call) -> str | None:
    """The endpoint of a mesh call; what the server says of itself where the client is plain grpc."""
    if hasattr(call, "endpoint"):
        return str(call.endpoint) if call.endpoint else None
    return replica_of(await call.trailing_metadata()) or None
