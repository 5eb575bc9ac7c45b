"""Measured calls: each becomes one sample of the report."""

from collections.abc import Callable
from typing import Any, Protocol

import grpc

from grpcmesh.status import replica_of
from services.loadgen.engine import Recorder

#: Returns the grpc.aio channel to a service: the mesh's `Member.channel`, for example.
ChannelSource = Callable[[str], grpc.aio.Channel]

#: The metadata of a call.
Metadata = tuple[tuple[str, str], ...]


class Call(Protocol):
    """The common part of all grpc.aio calls."""

    async def trailing_metadata(self) -> Any: ...


class UnaryCall(Call, Protocol):
    """A call with one response."""

    def __await__(self) -> Any: ...


class StreamCall(Call, Protocol):
    """A call with a stream of responses."""

    def __aiter__(self) -> Any: ...

    def cancel(self) -> bool: ...


async def measured(recorder: Recorder, target: str, method: str, call: UnaryCall) -> Any:
    """Await a call, record it, and return the response; None if it failed."""
    code, response = "OK", None
    try:
        response = await call
    except grpc.aio.AioRpcError as e:
        code = e.code().name
    await record(recorder, target, method, call, code)
    return response


async def measured_list(recorder: Recorder, target: str, method: str, call: StreamCall) -> list[Any] | None:
    """Read a stream to its end, record it, and return its messages; None if it failed."""
    code, responses = "OK", list[Any]()
    try:
        responses = [response async for response in call]
    except grpc.aio.AioRpcError as e:
        code = e.code().name
    await record(recorder, target, method, call, code)
    return responses if code == "OK" else None


async def record(recorder: Recorder, target: str, method: str, call: Call, code: str) -> None:
    """Record a call that has ended."""
    recorder.record(target, method, code, await _answered_by(call), getattr(call, "attempts", 1))


async def _answered_by(call: Call) -> str | None:
    """Return the endpoint of a mesh call. If the client is plain grpc, return the server's own name."""
    if hasattr(call, "endpoint"):
        return str(call.endpoint) if call.endpoint else None
    return replica_of(await call.trailing_metadata()) or None
