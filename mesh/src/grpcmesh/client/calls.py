"""The call objects that stubs return: those of grpc.aio, and `endpoint` and `attempts`.

A stream that nobody refers to any more is cancelled, and so is one whose `async for` was left early.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Generator
from functools import partial
from typing import Any, Generic, TypeVar

import grpc
from grpc.aio import EOF, AioRpcError, Metadata

from grpcmesh.client.flight import Flight

_Req = TypeVar("_Req")
_Res = TypeVar("_Res")


class MeshCall:
    """What the four kinds have in common. See `grpc.aio.Call`."""

    def __init__(self, flight: Flight) -> None:
        self._flight = flight

    @property
    def endpoint(self) -> str | None:
        """The address of the last attempt, `127.0.1.1:50051`."""
        return self._flight.call.endpoint

    @property
    def attempts(self) -> int:
        """Attempts so far: more than one where the call was retried."""
        return self._flight.call.attempts

    def cancelled(self) -> bool:
        return self._flight.done and self._flight.call.code is grpc.StatusCode.CANCELLED

    def done(self) -> bool:
        return self._flight.done

    def cancel(self) -> bool:
        return self._flight.cancel()

    def time_remaining(self) -> float | None:
        deadline = self._flight.call.deadline
        return None if deadline is None else max(0.0, deadline - self._flight.core.clock())

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._flight.done:
            callback(self)
            return
        self._flight.callbacks = [*(self._flight.callbacks or ()), partial(callback, self)]

    async def initial_metadata(self) -> Metadata:
        """Once it has been seen, a failed call is not retried any more."""
        flight = self._flight
        while True:
            await flight.wait()
            native = flight.native
            if native is None:
                return _metadata(flight.error.initial_metadata() if flight.error else None)
            metadata: Metadata = await native.initial_metadata()
            if flight.native is native:
                flight.committed = True
                return metadata

    async def trailing_metadata(self) -> Metadata:
        flight = self._flight
        await flight.wait_done()
        if flight.error:
            return _metadata(flight.error.trailing_metadata())
        return _metadata(await flight.native.trailing_metadata())

    async def code(self) -> grpc.StatusCode:
        await self._flight.wait_done()
        return self._flight.call.code

    async def details(self) -> str:
        await self._flight.wait_done()
        return (self._flight.error.details() or "") if self._flight.error else ""

    async def debug_error_string(self) -> str:
        await self._flight.wait_done()
        return (self._flight.error.debug_error_string() or "") if self._flight.error else ""

    async def wait_for_connection(self) -> None:
        flight = self._flight
        await flight.wait()
        if flight.native is None:
            raise _outcome(flight)
        await flight.native.wait_for_connection()

    def __repr__(self) -> str:
        call = self._flight.call
        state = call.code.name if self._flight.done else "running"
        return f"<{call.method.full_name} {state} endpoint={call.endpoint} attempts={call.attempts}>"


class _UnaryResponse(MeshCall):
    def __await__(self) -> Generator[Any, None, Any]:
        flight = self._flight
        while True:
            native = flight.native
            if native is None:
                if flight.done:
                    raise _outcome(flight)
                yield from self._wait().__await__()
                continue
            try:
                return (yield from native.__await__())
            except AioRpcError:
                if flight.native is native:
                    raise

    async def _wait(self) -> None:
        try:
            await self._flight.wait()
        except asyncio.CancelledError:
            self._flight.cancel()
            raise


class _StreamResponse(MeshCall):
    def __del__(self) -> None:
        # Set last in __init__; absent where that raised.
        if flight := getattr(self, "_flight", None):
            flight.cancel()

    def __aiter__(self) -> AsyncIterator[Any]:
        return _Responses(self)

    async def read(self) -> Any:
        flight = self._flight
        while True:
            try:
                await flight.wait()
                native = flight.native
                if native is None:
                    raise _outcome(flight)
                message = await anext(aiter(native), EOF)
            except AioRpcError:
                if flight.native is native:
                    raise
                # Another attempt has been begun.
                continue
            except asyncio.CancelledError:
                flight.cancel()
                raise
            if flight.native is not native:
                # The attempt failed, and another was begun, before this message was seen.
                continue
            if message is not EOF:
                flight.committed = True
                flight.call.received += 1
            return message


class _Responses:
    """Iterates over a stream's responses; cancels the call when it is left before the end."""

    def __init__(self, call: _StreamResponse) -> None:
        self._call = call

    def __aiter__(self) -> "_Responses":
        return self

    async def __anext__(self) -> Any:
        message = await self._call.read()
        if message is EOF:
            raise StopAsyncIteration
        return message

    def __del__(self) -> None:
        self._call.cancel()


class _StreamRequest(MeshCall):
    async def write(self, request: Any) -> None:
        native = await self._native()
        await native.write(request)
        self._flight.call.sent += 1

    async def done_writing(self) -> None:
        await (await self._native()).done_writing()

    async def _native(self) -> Any:
        await self._flight.wait()
        if self._flight.native is None:
            raise _outcome(self._flight)
        return self._flight.native


class UnaryUnary(_UnaryResponse, grpc.aio.UnaryUnaryCall[_Req, _Res], Generic[_Req, _Res]):
    """One request, one response."""


class UnaryStream(_StreamResponse, grpc.aio.UnaryStreamCall[_Req, _Res], Generic[_Req, _Res]):
    """One request, a stream of responses."""


class StreamUnary(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall[_Req, _Res], Generic[_Req, _Res]):
    """A stream of requests, one response."""


class StreamStream(
    _StreamRequest, _StreamResponse, grpc.aio.StreamStreamCall[_Req, _Res], Generic[_Req, _Res]
):
    """Streams both ways."""


def _outcome(flight: Flight) -> BaseException:
    """What to raise for a call that ended without a native call to await."""
    if flight.cancelled or flight.error is None:
        return asyncio.CancelledError()
    return flight.error


def _metadata(metadata: Metadata | None) -> Metadata:
    return Metadata() if metadata is None else metadata
