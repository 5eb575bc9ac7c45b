"""Translates between gRPC's errors and the `Status` of the state machines."""

import asyncio
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

import grpc
from grpc.aio import AioRpcError, Metadata

from grpcmesh.client.machines import Status

_T = TypeVar("_T")

#: How pick_first, which a native channel has, fails a call that found no connection: it was never sent.
#: (src/core/load_balancing/pick_first/pick_first.cc; tests/integration/test_call_ends.py pins it.)
_NO_CONNECTION = "failed to connect to all addresses"


def settled(coroutine: Coroutine[Any, Any, _T] | Generator[Any, Any, _T], default: _T) -> _T:
    """Return the result of a coroutine that does not have to wait; `default` if it would.

    For the methods of a native call that has ended.
    """
    try:
        coroutine.send(None)
    except StopIteration as e:
        result: _T = e.value
        return result
    coroutine.close()
    return default


def status_of(error: AioRpcError, look: Callable[[], bool]) -> Status:
    """Return the status of an attempt that failed.

    Args:
        look: Returns whether the connection is still up; a broken one leaves rotation at once. The text of
            the error alone does not prove that a call was unsent, because a server may answer with it.
    """
    code, details = error.code(), error.details() or ""
    unsent = code is grpc.StatusCode.UNAVAILABLE and not look() and details.startswith(_NO_CONNECTION)
    return Status(
        code,
        details,
        initial=error.initial_metadata() or (),
        trailing=error.trailing_metadata() or (),
        debug=error.debug_error_string() or "",
        unsent=unsent,
    )


def status_of_native(native: Any, look: Callable[[], bool]) -> Status | None:
    """Return the status of a native call that has ended; None for OK. `look` is as for `status_of`."""
    code = settled(native.code(), grpc.StatusCode.UNKNOWN)
    if code is grpc.StatusCode.OK:
        return None
    error = AioRpcError(
        code,
        settled(native.initial_metadata(), Metadata()),
        settled(native.trailing_metadata(), Metadata()),
        settled(native.details(), ""),
        settled(native.debug_error_string(), ""),
    )
    return status_of(error, look)


def error_of(status: Status) -> AioRpcError:
    """Return the exception that a caller catches for this status."""
    error = AioRpcError(
        status.code, _metadata(status.initial), _metadata(status.trailing), status.details, status.debug
    )
    error.__cause__ = status.cause
    return error


def outcome_of(status: Status, error: AioRpcError) -> BaseException:
    """Return what to raise for a call that failed: `CancelledError` where the caller ended it itself."""
    return asyncio.CancelledError(status.details) if status.local else error


def _metadata(pairs: Any) -> Metadata:
    return pairs if isinstance(pairs, Metadata) else Metadata(*pairs)
