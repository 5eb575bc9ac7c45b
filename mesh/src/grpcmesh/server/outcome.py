"""Decides which error a failed call sends to its caller, and under which code it counts."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc

from grpcmesh import status
from grpcmesh.call import ServerCall
from grpcmesh.errors import DeadlineExceeded, MeshError, ResourceExhausted, Unavailable
from grpcmesh.server.streams import Stream, left

#: Maps the code of a failed call that the servicer made to the error that its own caller gets. Other codes
#: become INTERNAL: NOT_FOUND, for example, is about a thing that our caller never named. Details are not
#: passed on.
DOWNSTREAM: dict[grpc.StatusCode, Callable[[], MeshError]] = {
    grpc.StatusCode.UNAVAILABLE: lambda: Unavailable("a service needed for this is unavailable"),
    grpc.StatusCode.CANCELLED: lambda: Unavailable("a service needed for this went away"),
    grpc.StatusCode.DEADLINE_EXCEEDED: lambda: DeadlineExceeded("a service needed for this took too long"),
    grpc.StatusCode.RESOURCE_EXHAUSTED: lambda: ResourceExhausted(
        "a service needed for this is overloaded", None
    ),
}

#: Caller and server compute the deadline separately. The server's count begins when the request reaches it,
#: which is late on a busy machine. So a cancellation shortly before the server's deadline counts as caused by
#: the caller's. How shortly: a share of the time that the call had, with bounds in seconds.
_TOLERANCE, _LEAST_TOLERANCE, _MOST_TOLERANCE = 0.05, 0.02, 0.5
#: gRPC sends a timeout of more than 100 s rounded up by as much as this share: 150.2 s as 151 s, and an hour,
#: of which a little has passed, as 3610 s. Shorter ones are rounded by 0.1 s at most.
_ROUNDED, _ROUNDED_FROM = 0.01, 100.0


class Unimplemented(MeshError):  # noqa: N818 - named as those of grpcmesh.errors
    """Raised if a method is in the contract but not implemented by this server."""


def translate(call: ServerCall, error: BaseException, stream: Stream | None) -> BaseException:
    """Return the error that the caller gets in place of the one that was raised."""
    if isinstance(error, asyncio.CancelledError):
        if call.cut and not call.context.done():
            return _cut_off()
        if stream is not None and stream.ending:
            return stream.leaving()
        return error if _cancelled() else _not_cancelled(error)
    if isinstance(error, grpc.aio.AioRpcError | grpc.Call) and error.code() in DOWNSTREAM:
        return DOWNSTREAM[error.code()]()
    if isinstance(error, TimeoutError):
        return DeadlineExceeded("this took too long")
    return error


def told(call: ServerCall, error: BaseException) -> bool:
    """Return whether the caller has got the error already, or has gone."""
    if isinstance(error, grpc.aio.AbortError | grpc.aio.UsageError):
        return bool(call.context.done())
    return isinstance(error, asyncio.CancelledError | grpc.aio.BaseError)


def code_of(call: ServerCall, error: BaseException) -> grpc.StatusCode:
    """Return the code that an error counts as."""
    if isinstance(error, grpc.aio.AbortError) and told(call, error):
        return code_set(call.context)
    if isinstance(error, asyncio.CancelledError | grpc.aio.InternalError):
        expired = call.deadline is not None and _expired(call.started, call.deadline, time.monotonic())
        return grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
    if isinstance(error, Unimplemented):
        return grpc.StatusCode.UNIMPLEMENTED
    return status.code_of(error)


def _expired(started: float, deadline: float, now: float) -> bool:
    """Return whether a call that is cancelled now has met its deadline. All in monotonic seconds."""
    timeout = deadline - started
    tolerance = min(_MOST_TOLERANCE, max(_LEAST_TOLERANCE, _TOLERANCE * timeout))
    if timeout > _ROUNDED_FROM:
        tolerance += _ROUNDED * timeout
    return now >= deadline - tolerance


def code_set(context: Any) -> grpc.StatusCode:
    """Return the code that a servicer has set. An invalid one counts as UNKNOWN, which grpc sends for it."""
    code = context.code()
    if isinstance(code, grpc.StatusCode):
        return code
    if not code:
        return grpc.StatusCode.OK
    return next((c for c in grpc.StatusCode if c.value[0] == code), grpc.StatusCode.UNKNOWN)


def _cut_off() -> MeshError:
    """Return the error of a call that was cut, and take back the cancellation of its task."""
    task = asyncio.current_task()
    while task is not None and task.cancelling():
        task.uncancel()
    return left()


def _cancelled() -> bool:
    """Return whether the task of the call is being cancelled, rather than something that it awaited."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _not_cancelled(error: BaseException) -> RuntimeError:
    # grpc would take the call for cancelled, and answer nothing.
    raised = RuntimeError("the servicer raised CancelledError although nobody cancelled its call")
    raised.__cause__ = error
    return raised
