"""Attempts on native synchronous calls.

An attempt ends under the lock of its channel, whichever thread ends it: the caller's, one of gRPC's, or that
of the event loop.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import grpc

from grpcmesh.client.attempt import NOTHING, NativeAttempt
from grpcmesh.client.machines import AttemptState, Status
from grpcmesh.client.sync.errors import status_of
from grpcmesh.hooks import let_through

if TYPE_CHECKING:
    from grpcmesh.client.sync.flight import SyncFlight

_OPEN, _ENDED = AttemptState.OPEN, AttemptState.ENDED


class SyncAttempt(NativeAttempt):
    """The part that attempts with one response and with many share."""

    __slots__ = ("lock", "settings", "spec")

    def __init__(self, flight: "SyncFlight", endpoint: Any, number: int, started: float) -> None:
        super().__init__(flight, endpoint, number, started)
        # `flight` is deleted at the end of the attempt, which another thread may bring about: so it is used
        # only under the lock, while the attempt has not ended.
        self.lock, self.spec, self.settings = flight.lock, flight.spec, flight.settings

    def abandon(self, status: Status) -> None:
        with self.lock:
            super().abandon(status)

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        return self.native.trailing_metadata() or () if self.answered else ()

    def finish(self, status: Status | None) -> None:
        """End the attempt. Later reports are ignored. `status`: None for OK."""
        with self.lock:
            if self.state is not _ENDED:
                self.flight.ended(self, status)

    def deserialized(self, data: Any) -> Any:
        """Return the parsed message. If there is none, end the attempt and return `NOTHING`."""
        limit = self.settings.max_response
        try:
            if data is None:
                raise ValueError("the server sent no message")
            if limit is None or len(data) <= limit:
                return self.spec.deserialize(data)
            details = f"Received message larger than max ({len(data)} vs. {limit})"
            self.abandon(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, details, final=True))
        except BaseException as e:
            details = f"Exception deserializing response! {type(e).__name__}: {e}"
            self.abandon(Status(grpc.StatusCode.INTERNAL, details, final=True, cause=e))
            let_through(e)
        return NOTHING


class UnaryAttempt(SyncAttempt):
    """An attempt with a single response, which decides the call."""

    __slots__ = ("message",)

    def native_done(self) -> None:
        """Handle the end of the native call of a future. Called in a thread of gRPC."""
        status = status_of(self.native, self.connection.look)
        if status is None:
            self.answer(self.native.result())
        else:
            self.finish(status)

    def exchange(self) -> None:
        """Make the native call in the calling thread, and end the attempt with its answer."""
        try:
            data = self.native.run()
        except grpc.RpcError:
            self.finish(status_of(self.native.outcome, self.connection.look))
        except Exception as e:
            details, closed = f"the call cannot be sent: {e!r}", self.connection.closed
            code = grpc.StatusCode.UNAVAILABLE if closed else grpc.StatusCode.INTERNAL
            self.finish(Status(code, details, unsent=closed, final=not closed, cause=e))
        else:
            self.answer(data)

    def answer(self, data: bytes) -> None:
        """End the attempt with the response of the server."""
        if self.state is _ENDED:
            return
        message = self.deserialized(data)
        if message is not NOTHING:
            self.message = message
            self.call.received = 1
            self.finish(None)


class StreamAttempt(SyncAttempt):
    """An attempt with a stream of responses. It ends when its status has arrived and nobody is reading."""

    __slots__ = ("_done", "_reading")

    def __init__(self, flight: "SyncFlight", endpoint: Any, number: int, started: float) -> None:
        super().__init__(flight, endpoint, number, started)
        self._reading, self._done = 0, False

    def native_done(self) -> None:
        with self.lock:
            self._done = True
            if self._reading:
                return
        self._settle()

    def receive(self) -> Any:
        """Wait for the next message. Return `NOTHING` when the attempt has ended."""
        with self.lock:
            self._reading += 1
        data = message = NOTHING
        try:
            data = next(self.native, NOTHING)
            if data is not NOTHING and self.state is not _ENDED:
                message = self.deserialized(data)
        except grpc.RpcError:
            data = NOTHING
        finally:
            with self.lock:
                self._reading -= 1
                self._done = self._done or data is NOTHING
                if message is not NOTHING and not self._take():
                    message = NOTHING
                settles = self._done and not self._reading
            if settles:
                self._settle()
        return message

    def _take(self) -> bool:
        """Note that the caller gets a message. Return False if the attempt has been ended meanwhile."""
        if self.state is _ENDED:
            return False
        self.call.received += 1
        if self.state is _OPEN:
            self.flight.delivered(self)
        return True

    def _settle(self) -> None:
        if self.state is not _ENDED and self.native.done():
            self.finish(status_of(self.native, self.connection.look))


class BlockingCall:
    """A native call that the thread of its caller makes. It has the methods that the mesh uses of others.

    Args:
        with_call: Makes the call: `grpc.UnaryUnaryMultiCallable.with_call`.
        request: The request as bytes.
        options: Further arguments of `with_call`.
    """

    __slots__ = ("_options", "_request", "_with_call", "outcome")

    def __init__(self, with_call: Callable[..., Any], request: bytes, **options: Any) -> None:
        self._with_call, self._request, self._options = with_call, request, options
        #: The call, or the error that it raised, once it has ended.
        self.outcome: Any = None

    def run(self) -> bytes:
        """Make the call and wait for its response. Raises what gRPC raises."""
        try:
            response, self.outcome = self._with_call(self._request, **self._options)
        except grpc.RpcError as e:
            self.outcome = e
            raise
        return response  # type: ignore[no-any-return]

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        """Do nothing: the thread that makes the call knows its end."""

    def cancel(self) -> bool:
        """Do nothing: gRPC can cancel such a call only by closing the channel."""
        return False

    def done(self) -> bool:
        return self.outcome is not None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.outcome, name)
