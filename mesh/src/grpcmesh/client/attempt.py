"""One attempt on the wire: a native call, and how its end and its messages reach the machine.

There is no task here. A native call runs by itself; gRPC's done callback moves the logical call on, whether
or not anybody awaits it.
"""

import asyncio
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import EOF, AioRpcError

from grpcmesh.client.failures import settled, status_of, status_of_native
from grpcmesh.client.machines import AttemptState, LiveAttempt, Status
from grpcmesh.client.timeouts import quantized
from grpcmesh.hooks import let_through
from grpcmesh.tasks import cancelling

if TYPE_CHECKING:
    from grpcmesh.client.connection import Connection
    from grpcmesh.client.flight import Flight
    from grpcmesh.client.stack import Hook

_OPEN, _ENDED = AttemptState.OPEN, AttemptState.ENDED
_OK = grpc.StatusCode.OK
_INTERNAL, _UNAVAILABLE = grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE
_CANCELLED, _LATE = grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED
#: Says that an attempt has ended without a message.
NOTHING: Any = object()
#: The details that grpc.aio gives a call one of whose writes failed.
_WRITE_FAILED = "Internal error from Core"
#: Seconds to wait for the server's status then. It takes an iteration of the event loop or two.
_STATUS_TIMEOUT = 1.0


class DoneCallback:
    """Tells an attempt that its native call has ended, and drops the reference to it.

    gRPC keeps a native call and its callbacks in a reference cycle. Without this, each attempt would stay in
    memory until the garbage collector runs.
    """

    __slots__ = ("_attempt",)

    def __init__(self, attempt: "NativeAttempt") -> None:
        self._attempt: NativeAttempt | None = attempt

    def __call__(self, native: Any) -> None:
        attempt, self._attempt = self._attempt, None
        if attempt is not None and attempt.state is not _ENDED:
            attempt.native_done()


class StreamedDoneCallback(DoneCallback):
    """The same for calls with a request stream: keeps the status that the server has sent.

    A write that fails because the server has ended the call sets the status INTERNAL in grpc.aio, before the
    server's own status or in place of it (grpc/grpc#36066).
    """

    __slots__ = ()

    def __call__(self, native: Any) -> None:
        attempt = self._attempt
        if attempt is not None and attempt.state is not _ENDED:
            if settled(native.details(), "") == _WRITE_FAILED:
                attempt.flight.core.loop.call_later(_STATUS_TIMEOUT, super().__call__, native)
                return
            attempt.sent_status = status_of_native(native, attempt.connection.look)
        super().__call__(native)


class NativeAttempt(LiveAttempt):
    """An attempt with a native call: the part that unary and streaming responses share."""

    __slots__ = ("awaited", "connection", "ends", "flight", "native", "sent_status")

    def __init__(self, flight: "Flight", endpoint: Any, number: int, started: float) -> None:
        # All fields of the base classes, too: three nested calls per attempt would cost more than this.
        self.call, self.endpoint, self.number, self.started = flight.call, endpoint, number, started
        self.code, self.ended, self.local, self.received_bytes = _OK, 0.0, False, 0
        self.state, self.status = _OPEN, None
        self.flight = flight
        self.connection: Connection = endpoint.transport
        #: The hooks to run at its end.
        self.ends: tuple[Hook, ...] = ()
        #: The native call; None where it could not be made.
        self.native: Any = None
        #: The server's status, None for OK; `NOTHING` while it is unknown, and without a request stream.
        self.sent_status: Any = NOTHING
        #: Whether a task is in `UnaryAttempt.answer`: then it takes the response.
        self.awaited = False

    @property
    def runs(self) -> bool:
        """Return whether the attempt has been sent and has not ended."""
        return self.native is not None and self.state is not _ENDED

    @property
    def answered(self) -> bool:
        """Return whether its answer is here, be it unread. Then it needs its connection no longer."""
        return self.native is not None and bool(self.native.done())

    def native_done(self) -> None:
        """Handle the end of the native call. The attempt itself has not ended yet."""
        raise NotImplementedError

    def abandon(self, status: Status) -> None:
        """End the attempt from this side: its connection is cut, or the call no longer needs it."""
        if self.state is _ENDED:
            return
        self.flight.ended(self, status)
        if self.native is not None:
            self.native.cancel()

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        if self.native is None or not self.native.done():
            return ()
        return settled(self.native.trailing_metadata(), ())

    def _in_time(self, status: Status) -> Status:
        """Return the status of a native call, or DEADLINE_EXCEEDED where it was cancelled at its deadline.

        grpc.aio itself cancels a call whose deadline passes while its request stream is written or closed
        (grpc/aio/_call.py, `_consume_request_iterator`).
        """
        if status.code is not _CANCELLED or not self._overdue():
            return status
        return Status(_LATE, "Deadline Exceeded", initial=status.initial, trailing=status.trailing)

    def _overdue(self) -> bool:
        """Return whether the attempt has taken longer than the timeout that it was sent with."""
        flight = self.flight
        limit, deadline = flight.settings.rules.attempt_timeout, self.call.deadline
        if deadline is not None:
            rest = deadline - self.started
            limit = rest if limit is None else min(limit, rest)
        return limit is not None and flight.core.clock() - self.started >= quantized(limit) / 1000

    def _deserialized(self, data: Any) -> Any:
        """Return the parsed message. If there is none, end the attempt and return `NOTHING`."""
        flight, limit = self.flight, self.flight.settings.max_response
        try:
            if data is None:
                raise ValueError("the server sent no message")
            size = len(data)
            self.received_bytes += size
            if limit is None or size <= limit:
                return flight.spec.deserialize(data)
            self.abandon(_too_large(size, limit))
        except BaseException as e:
            let_through(e)
            details = f"Exception deserializing response! {type(e).__name__}: {e}"
            self.abandon(Status(_INTERNAL, details, final=True, cause=e))
        return NOTHING


class UnaryAttempt(NativeAttempt):
    """An attempt with a single response, which decides the call."""

    __slots__ = ("message",)

    def native_done(self) -> None:
        # The message is there one step later than the status, in gRPC's task.
        if not self.awaited:
            self.flight.core.loop.call_soon(self._collect)

    def answer(self) -> Generator[Any, None, None]:
        """Wait for the response and end the attempt with it. Only one task at a time may do so.

        Here gRPC's task wakes the caller's task directly. Through `native_done` that would take a future and
        two more iterations of the event loop.

        Raises:
            asyncio.CancelledError: The calling task is being cancelled.
        """
        flight = self.flight  # the attempt has none once it has ended
        task = asyncio.current_task(flight.core.loop)
        before = task.cancelling() if task is not None else 0
        self.awaited = True
        try:
            data = yield from self.native.__await__()
        except asyncio.CancelledError as e:
            if task is not None and task.cancelling() > (before if self.state is _ENDED else 0):
                flight.cancel()
                raise
            self._failed(e)
        except Exception as e:
            self._failed(e)
        else:
            self._answered(data)
        finally:
            self.awaited = False
            if self.state is not _ENDED and self.native.done():  # the caller's task has been dropped
                self.native_done()

    def _collect(self) -> None:
        if self.state is not _ENDED and not self.awaited:
            self.flight.core.tasks.spawn(self._take(), "response")

    async def _take(self) -> None:
        """Take the response that nobody awaits. It may come later than the status."""
        try:
            data = await self.native
        except asyncio.CancelledError as e:
            if cancelling():
                raise
            self._failed(e)
        except Exception as e:
            self._failed(e)
        else:
            self._answered(data)

    def _answered(self, data: Any) -> None:
        if self.state is _ENDED:
            return
        message = self._deserialized(data)
        if message is not NOTHING:
            self.message = message
            self.call.received = 1
            self.flight.ended(self, None)

    def _failed(self, error: BaseException) -> None:
        if self.state is not _ENDED:
            self.flight.ended(self, self._failure(error))

    def _failure(self, error: BaseException) -> Status:
        if isinstance(error, AioRpcError):
            known = self.sent_status
            return self._in_time(
                known if isinstance(known, Status) else status_of(error, self.connection.look)
            )
        if isinstance(error, asyncio.CancelledError):
            if self._overdue():
                return Status(_LATE, "Deadline Exceeded")
            return Status(_UNAVAILABLE, "the connection was closed")
        return Status(_INTERNAL, f"gRPC failed: {error!r}", final=True, cause=error)


class StreamAttempt(NativeAttempt):
    """An attempt with a stream of responses.

    It ends when its status has arrived and the caller is not reading.
    """

    __slots__ = ("_done", "_reading")

    def __init__(self, flight: "Flight", endpoint: Any, number: int, started: float) -> None:
        super().__init__(flight, endpoint, number, started)
        self._reading, self._done = 0, False

    def native_done(self) -> None:
        self._done = True
        if not self._reading:
            self._settle()

    async def receive(self) -> Any:
        """Return the next message, or `NOTHING` when the attempt has ended.

        Raises:
            asyncio.CancelledError: The calling task is being cancelled.
        """
        self._reading += 1
        try:
            data = await self.native.read()
        except AioRpcError:
            data = EOF
        except asyncio.CancelledError:
            # gRPC raises it, too, when the native call has been cancelled: by us, for the call goes on or
            # ends.
            if cancelling() or not self.native.done():
                raise
            data = EOF
        finally:
            self._reading -= 1
        return self._received(data)

    def _received(self, data: Any) -> Any:
        message = NOTHING
        if data is not EOF and self.state is not _ENDED:
            message = self._deserialized(data)
            if message is not NOTHING:
                self.call.received += 1
                if self.state is _OPEN:
                    self.flight.delivered(self)
        if self._done and not self._reading:
            self._settle()
        return message

    def _settle(self) -> None:
        if self.state is not _ENDED:
            status = self.sent_status
            if status is NOTHING:
                status = status_of_native(self.native, self.connection.look)
            self.flight.ended(self, None if status is None else self._in_time(status))


def _too_large(size: int, limit: int) -> Status:
    details = f"Received message larger than max ({size} vs. {limit})"
    return Status(grpc.StatusCode.RESOURCE_EXHAUSTED, details, final=True)
