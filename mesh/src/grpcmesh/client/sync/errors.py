"""The exception that callers of a synchronous channel catch."""

from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc

from grpcmesh.client.machines import Status

if TYPE_CHECKING:
    Future = grpc.Future[Any]
else:
    Future = grpc.Future

#: How pick_first fails a call that found no connection (`grpcmesh.client.failures`).
_NO_CONNECTION = "failed to connect to all addresses"


class MeshRpcError(grpc.RpcError, grpc.Call, Future):
    """The status of a call that failed. Like the errors of grpc, it is also a call and a future that is done.

    Args:
        status: How the call failed.
    """

    def __init__(self, status: Status) -> None:
        super().__init__(status.details)
        self._status = status
        self.__cause__ = status.cause

    def code(self) -> grpc.StatusCode:
        return self._status.code

    def details(self) -> str:
        return self._status.details

    def debug_error_string(self) -> str:
        return self._status.debug

    def initial_metadata(self) -> Any:
        return tuple(self._status.initial)

    def trailing_metadata(self) -> Any:
        return self._status.trailing

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return self._status.local

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def result(self, timeout: float | None = None) -> Any:
        raise self

    def exception(self, timeout: float | None = None) -> Self:
        return self

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        return self.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        fn(self)

    def __repr__(self) -> str:
        return f"<MeshRpcError {self._status.code.name}: {self._status.details}>"

    __str__ = __repr__


class _InitialMetadata:
    """The initial metadata of a native call, read when it is iterated over.

    gRPC may report it after the status, in the thread in which it reports that. To wait there is for ever.
    """

    __slots__ = ("_native",)

    def __init__(self, native: Any) -> None:
        self._native = native

    def __iter__(self) -> Iterator[Any]:
        return iter(self._native.initial_metadata() or ())


def status_of(native: Any, look: Callable[[], bool]) -> Status | None:
    """Return the status of a native call that has ended; None for OK.

    Args:
        native: The call, or the error that it raised.
        look: Returns whether a server may have seen the call. The text of the error alone does not prove
            that it did not, because a server may answer with it.
    """
    code = native.code()
    if code is grpc.StatusCode.OK:
        return None
    details = native.details() or ""
    unsent = code is grpc.StatusCode.UNAVAILABLE and details.startswith(_NO_CONNECTION) and not look()
    return Status(
        code,
        details,
        initial=_InitialMetadata(native),
        trailing=native.trailing_metadata() or (),
        debug=native.debug_error_string() or "",
        unsent=unsent,
    )
