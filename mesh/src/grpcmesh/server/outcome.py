"""How a served call that failed has ended: what its caller is told, and under which code it counts."""

import asyncio
import time
from collections.abc import Callable

import grpc

from grpcmesh import status
from grpcmesh.call import ServerCall
from grpcmesh.errors import DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from grpcmesh.server.streams import Stream

#: A call that the servicer made and that failed -> what its own caller is told. Anything else is
#: INTERNAL: NOT_FOUND, say, speaks of a thing that our caller never named. Details are not passed on.
DOWNSTREAM: dict[grpc.StatusCode, Callable[[], MeshError]] = {
    grpc.StatusCode.UNAVAILABLE: lambda: Unavailable("a service needed for this is unavailable"),
    grpc.StatusCode.CANCELLED: lambda: Unavailable("a service needed for this went away"),
    grpc.StatusCode.DEADLINE_EXCEEDED: lambda: DeadlineExceeded("a service needed for this took too long"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: lambda: ResourceExhausted(
        "a service needed for this is overloaded", None
    ),
}

#: Caller and server reckon the deadline apart: a cancellation this close to it is the deadline's.
_DEADLINE_TOLERANCE = 0.02


class Unimplemented(MeshError):  # noqa: N818 - named as those of grpcmesh.errors
    """The method is in the contract and not in this server."""


def translate(error: BaseException, stream: Stream | None) -> BaseException:
    """What the caller is told instead of what was raised."""
    if isinstance(error, asyncio.CancelledError) and stream is not None and stream.ending:
        return stream.leaving()
    if isinstance(error, grpc.aio.AioRpcError) and error.code() in DOWNSTREAM:
        return DOWNSTREAM[error.code()]()
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("this took too long")
    return error


def code_of(call: ServerCall, error: BaseException) -> grpc.StatusCode:
    """The code that it counts as."""
    if isinstance(error, grpc.aio.AbortError):
        code: grpc.StatusCode = call.context.code()
        return code
    if isinstance(error, asyncio.CancelledError | grpc.aio.InternalError):
        expired = call.deadline is not None and time.monotonic() >= call.deadline - _DEADLINE_TOLERANCE
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
    if isinstance(error, Unimplemented):
        return grpc.StatusCode.UNIMPLEMENTED
    return status.code_of(error)
