"""The call objects of a synchronous channel. They have the interface of grpc, plus `endpoint` and `attempts`.

A call that is no longer referenced is cancelled.
"""

from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc

from grpcmesh.client.attempt import NOTHING
from grpcmesh.client.machines import AttemptState
from grpcmesh.client.sync.attempt import StreamAttempt, UnaryAttempt
from grpcmesh.client.sync.errors import Future
from grpcmesh.client.sync.flight import SyncFlight
from grpcmesh.client.view import CallView

_OPEN, _COMMITTED = AttemptState.OPEN, AttemptState.COMMITTED


class SyncCall(CallView, grpc.Call, Future):
    """The base of all kinds of call: a `grpc.Call` that is also a `grpc.Future`.

    Args:
        keep: An object that the call keeps alive, which is the channel.
    """

    _flight: SyncFlight

    def __init__(self, flight: SyncFlight, keep: object) -> None:
        super().__init__(flight)
        self._keep = keep

    def __del__(self) -> None:
        # Absent where __init__ did not run. Not at once: the garbage collector may run in any thread, also in
        # one that holds the lock.
        flight: SyncFlight | None = getattr(self, "_flight", None)
        if flight is not None and not flight.done:
            flight.core.host.soon(flight.cancel, "Cancelled upon garbage collection!")

    # -- grpc.RpcContext and grpc.Call -----------------------------------------------------------

    def is_active(self) -> bool:
        return not self._flight.done

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call `callback` when the call has ended, in a thread of the mesh. Return False if it has ended."""
        flight = self._flight
        with flight.lock:
            if flight.done:
                return False
            flight.callbacks = [*(flight.callbacks or ()), callback]
            return True

    def initial_metadata(self) -> Any:
        """Wait for the initial metadata. Once the caller has seen it, the call is not retried any more."""
        flight = self._flight
        attempt = flight.next_attempt()
        while attempt is not None:
            metadata = attempt.native.initial_metadata()
            with flight.lock:
                if attempt.state is _OPEN and not attempt.native.done():
                    flight.delivered(attempt)
                if attempt.state is _COMMITTED:
                    return metadata
            # It has failed, or is about to end: what it has is not what the caller will see.
            attempt = flight.next_attempt(attempt)
        return self._of_end("initial_metadata")

    def trailing_metadata(self) -> Any:
        self._flight.wait()
        return self._of_end("trailing_metadata")

    def code(self) -> grpc.StatusCode:
        self._flight.wait()
        self._refuse_if_inherited()
        return self._flight.call.code

    def details(self) -> str:
        self._flight.wait()
        return str(self._of_end("details") or "")

    def debug_error_string(self) -> str:
        self._flight.wait()
        return str(self._of_end("debug_error_string") or "")

    def _of_end(self, name: str) -> Any:
        self._refuse_if_inherited()
        error, attempt = self._flight.error, self._flight.attempt
        return getattr(error or (attempt and attempt.native), name)() or ()

    def _refuse_if_inherited(self) -> None:
        error: BaseException | None = self._flight.error
        if error is not None and not isinstance(error, grpc.RpcError):
            raise error

    # -- grpc.Future -----------------------------------------------------------------------------

    def running(self) -> bool:
        return not self._flight.done

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the end of the call, and return its response; None for a stream.

        Args:
            timeout: Seconds to wait at most; None is until the call's deadline.

        Raises:
            FutureTimeoutError: The call has not ended in time. It goes on.
            FutureCancelledError: The call was cancelled, or its channel was closed.
            RpcError: The call failed.
        """
        error = self.exception(timeout)
        if error is not None:
            raise error
        winner = self._flight.machine.winner
        return winner.message if isinstance(winner, UnaryAttempt) else None

    def exception(self, timeout: float | None = None) -> Any:
        """Wait for the end of the call, and return its error. Arguments and errors are those of `result`."""
        flight = self._flight
        if not flight.wait(timeout):
            raise grpc.FutureTimeoutError
        if flight.machine.status is not None and flight.machine.status.local:
            raise grpc.FutureCancelledError
        return flight.error

    def traceback(self, timeout: float | None = None) -> TracebackType | None:
        error = self.exception(timeout)
        return None if error is None else error.__traceback__

    def add_done_callback(self, fn: Callable[[Any], None]) -> None:
        """Call `fn` with this call when it has ended: in a thread of the mesh, or at once if it has."""
        if not self.add_callback(partial(fn, self)):
            fn(self)


class StreamCall(SyncCall):
    """A call with a stream of responses. It iterates over them; only one thread at a time may do so."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        """Wait for the next response.

        Raises:
            RpcError: The call failed, or was cancelled.
        """
        flight = self._flight
        flight.core.host.refuse_own_thread()
        try:
            message = self._receive()
        except BaseException:
            flight.cancel("the thread of the caller was interrupted")
            raise
        if message is not NOTHING:
            return message
        if flight.error is not None:
            raise flight.error
        raise StopIteration

    def next(self) -> Any:
        """Return the next response, as `next(call)` does."""
        return next(self)

    def _receive(self) -> Any:
        """Wait for the next response, of whichever attempt. Return `NOTHING` when the call has ended."""
        flight, attempt = self._flight, None
        while not flight.done:
            running: Any = flight.attempt
            if running is None or running is attempt or running.native is None:
                running = flight.next_attempt(attempt)
            attempt = running
            if isinstance(attempt, StreamAttempt):
                message = attempt.receive()
                if message is not NOTHING:
                    return message
        return NOTHING
