"""The call objects that stubs return. They have the interface of grpc.aio, plus `endpoint` and `attempts`.

A call that is no longer referenced is cancelled. mesh/docs/compatibility.md compares each method with
grpc.aio's.
"""

import asyncio
import enum
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from functools import partial
from typing import Any, Generic, TypeVar

import grpc
from grpc.aio import EOF, Metadata, UsageError

from grpcmesh.client.attempt import NOTHING, NativeAttempt, StreamAttempt, UnaryAttempt
from grpcmesh.client.dropped import on_loop
from grpcmesh.client.failures import settled
from grpcmesh.client.flight import Flight
from grpcmesh.client.machines import AttemptState
from grpcmesh.client.view import CallView

_Req = TypeVar("_Req")
_Res = TypeVar("_Res")

_MIXED = "The iterator and read/write APIs may not be mixed on a single RPC."
_FINISHED = "RPC already finished."
_HALF_CLOSED = 'RPC is half closed after calling "done_writing".'
_OPEN, _COMMITTED = AttemptState.OPEN, AttemptState.COMMITTED
#: What an operation of a native call raises when the call has ended.
_REFUSED = (grpc.aio.AioRpcError, asyncio.InvalidStateError, asyncio.CancelledError)


class MeshCall(CallView):
    """The base of the four kinds of call. See `grpc.aio.Call`."""

    def __del__(self) -> None:
        # Absent where __init__ did not run.
        flight: Flight | None = getattr(self, "_flight", None)
        if flight is not None and not flight.done:
            on_loop(flight.core.loop, flight.cancel, "Cancelled upon garbage collection!")

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._flight.done:
            callback(self)
            return
        self._flight.callbacks = [*(self._flight.callbacks or ()), partial(callback, self)]

    async def initial_metadata(self) -> Metadata:
        """Return the initial metadata. Once the caller has seen it, the call is not retried any more."""
        flight = self._flight
        while (attempt := await self._attempt()) is not None:
            metadata: Metadata = await attempt.native.initial_metadata()
            if attempt.state is _COMMITTED or (flight.done and attempt is flight.attempt):
                return metadata
            if attempt.state is _OPEN and not attempt.native.done():
                flight.delivered(attempt)
                return metadata
            # It has failed, or is about to end: what it has is not what the caller will see.
            if not flight.done and attempt is flight.attempt:
                await flight.changed()
        status = flight.machine.status
        return _metadata(status.initial if status else ())

    async def trailing_metadata(self) -> Metadata:
        await self._done()
        status, winner = self._flight.machine.status, self._flight.machine.winner
        return _metadata(status.trailing if status else winner.trailing_metadata() if winner else ())

    async def code(self) -> grpc.StatusCode:
        await self._done()
        return self._flight.call.code

    async def details(self) -> str:
        await self._done()
        status = self._flight.machine.status
        return status.details if status else self._of_answer("details")

    async def debug_error_string(self) -> str:
        await self._done()
        status = self._flight.machine.status
        return status.debug if status else self._of_answer("debug_error_string")

    async def wait_for_connection(self) -> None:
        """Wait until the metadata has been sent. Raises the error of the call if it has failed.

        A task that is cancelled here cancels its call, as in grpc.aio.
        """
        flight = self._flight
        while (attempt := await self._attempt(self._changed)) is not None and not flight.done:
            await self._sent(attempt)
            if not attempt.native.done():
                return
            if not flight.done and attempt is flight.attempt:
                await self._changed()
        if flight.error is not None:
            raise flight.outcome()

    async def _attempt(self, changed: Callable[[], Awaitable[None]] | None = None) -> NativeAttempt | None:
        """Wait for an attempt that runs or has decided the call. Return None if the call ended without."""
        flight = self._flight
        while flight.attempt is None or flight.attempt.native is None:
            if flight.done:
                return None
            await (changed or flight.changed)()
        return None if flight.done and flight.error is not None else flight.attempt

    async def _done(self) -> None:
        while not self._flight.done:
            await self._flight.changed()

    async def _changed(self) -> None:
        """Wait for the call's next change. Cancelling the waiting task cancels the call, as in grpc.aio."""
        try:
            await self._flight.changed()
        except asyncio.CancelledError:
            self._flight.cancel()
            raise

    async def _sent(self, attempt: NativeAttempt) -> None:
        """Wait until the metadata of an attempt has been sent, or the attempt is over.

        Where a native call is cancelled first, grpc.aio's `wait_for_connection` and `write` wait for ever.
        """
        flight = self._flight
        sent = asyncio.ensure_future(attempt.native.wait_for_connection())
        try:
            while not (sent.done() or flight.done or attempt is not flight.attempt):
                await asyncio.wait({sent, flight.changed()}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            flight.cancel()
            raise
        finally:
            sent.cancel()
            await asyncio.wait({sent})
            if not sent.cancelled():
                sent.exception()  # or asyncio would log that nobody has retrieved it

    def _is_cancelling(self) -> bool:
        """Return whether the calling task is being cancelled, and then cancel the call."""
        task = asyncio.current_task()
        if task is None or not task.cancelling():
            return False
        self._flight.cancel()
        return True

    def _of_answer(self, name: str) -> str:
        attempt = self._flight.attempt
        return settled(getattr(attempt.native, name)(), "") or "" if attempt else ""


class _UnaryResponse(MeshCall):
    def __await__(self) -> Generator[Any, None, Any]:
        flight = self._flight
        while not flight.done:
            attempt = flight.attempt
            if isinstance(attempt, UnaryAttempt) and attempt.runs and not attempt.awaited:
                yield from attempt.answer()
            else:
                yield from self._changed().__await__()
        if flight.error is not None:
            raise flight.outcome()
        winner = flight.machine.winner
        assert isinstance(winner, UnaryAttempt)
        return winner.message


class _Style(enum.Enum):
    UNKNOWN = 0
    ITERATED = 1
    READ = 2


class _StreamResponse(MeshCall):
    def __init__(self, flight: Flight) -> None:
        super().__init__(flight)
        self._style = _Style.UNKNOWN
        #: Whether an iteration has reached the end of the responses, or the call's error.
        self._iterated = False

    def __aiter__(self) -> AsyncIterator[Any]:
        self._use(_Style.ITERATED)
        return _Responses(self)

    async def read(self) -> Any:
        flight = self._flight
        if not flight.done:
            self._use(_Style.READ)
        return await self._read()

    async def _read(self) -> Any:
        flight = self._flight
        while not flight.done:
            attempt = flight.attempt
            if attempt is None or attempt.native is None:
                await self._changed()
                continue
            assert isinstance(attempt, StreamAttempt)
            try:
                message = await attempt.receive()
            except asyncio.CancelledError:
                flight.cancel()
                raise
            if message is not NOTHING:
                return message
            if attempt is flight.attempt and not flight.done:
                await self._changed()
        if flight.error is not None:
            raise flight.outcome()
        return EOF

    async def _next(self) -> Any:
        if self._iterated:
            raise StopAsyncIteration
        try:
            message = await self._read()
        except BaseException:
            self._iterated = self._flight.done
            raise
        if message is EOF:
            self._iterated = True
            raise StopAsyncIteration
        return message

    def end_iteration(self) -> None:
        """Make every iteration of the responses raise `StopAsyncIteration` from now on."""
        self._iterated = True

    def _use(self, style: _Style) -> None:
        if self._style is _Style.UNKNOWN:
            self._style = style
        elif self._style is not style:
            raise UsageError(_MIXED)


class _Responses:
    """Iterates over the responses of a call. The call holds the position, so iterators of it share it.

    The iterator refers to its call, not the call to its iterator, so that a dropped call is noticed at once.
    """

    __slots__ = ("_call",)

    def __init__(self, call: _StreamResponse) -> None:
        self._call = call

    def __aiter__(self) -> "_Responses":
        return self

    async def __anext__(self) -> Any:
        return await self._call._next()

    async def aclose(self) -> None:
        """End the iteration, not the call. grpc.aio's iterator has it, because it is an async generator."""
        self._call.end_iteration()


class _StreamRequest(MeshCall):
    def __init__(self, flight: Flight) -> None:
        super().__init__(flight)
        self._half_closed = False
        #: The attempt whose metadata is known to have been sent.
        self._open: NativeAttempt | None = None

    async def write(self, request: Any) -> None:
        flight = self._flight
        if flight.request is not None:
            raise UsageError(_MIXED)
        if flight.done:
            raise asyncio.InvalidStateError(_FINISHED)
        if self._half_closed:
            raise asyncio.InvalidStateError(_HALF_CLOSED)
        data = flight.serialized(request)
        attempt = await self._attempt(self._changed)
        if data is not NOTHING and attempt is not None:
            if attempt is not self._open:
                await self._sent(attempt)
                self._open = attempt
            await self._through(attempt, attempt.native.write(data))
            flight.call.sent += 1
            return  # As in grpc.aio: if the call has ended meanwhile, the next operation says so.
        if flight.error is not None:
            raise flight.outcome()

    async def done_writing(self) -> None:
        """Tell the server that there are no more requests. Idempotent."""
        flight = self._flight
        if flight.request is not None:
            raise UsageError(_MIXED)
        if flight.done or self._half_closed:
            return
        self._half_closed = True
        attempt = await self._attempt(self._changed)
        if attempt is not None:
            await self._through(attempt, attempt.native.done_writing())

    async def _through(self, attempt: NativeAttempt, operation: Any) -> None:
        """Await an operation of the native call. Raises the call's error if the call has ended meanwhile."""
        flight = self._flight
        try:
            await operation
        except (*_REFUSED, grpc.aio.InternalError) as e:
            if self._is_cancelling():
                raise
            # An InternalError says that the call is over, before grpc.aio has its status.
            over = isinstance(e, grpc.aio.InternalError)
            while attempt is flight.attempt and not flight.done and (over or attempt.native.done()):
                await self._changed()
            if flight.error is not None:
                raise flight.outcome() from None
            if not over:
                raise


class UnaryUnary(_UnaryResponse, grpc.aio.UnaryUnaryCall[_Req, _Res], Generic[_Req, _Res]):
    """A call with one request and one response."""


class UnaryStream(_StreamResponse, grpc.aio.UnaryStreamCall[_Req, _Res], Generic[_Req, _Res]):
    """A call with one request and a stream of responses."""


class StreamUnary(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall[_Req, _Res], Generic[_Req, _Res]):
    """A call with a stream of requests and one response."""


class StreamStream(
    _StreamRequest, _StreamResponse, grpc.aio.StreamStreamCall[_Req, _Res], Generic[_Req, _Res]
):
    """A call with a stream of requests and a stream of responses."""


def _metadata(pairs: Any) -> Metadata:
    return pairs if isinstance(pairs, Metadata) else Metadata(*pairs)
