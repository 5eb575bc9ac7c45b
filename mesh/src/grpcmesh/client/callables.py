"""The multi-callables that stubs hold: one for each kind of call."""

from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from typing import Any, Generic, TypeVar

import grpc
from grpc.aio import AioRpcError, Metadata

from grpcmesh.call import ClientCall
from grpcmesh.client import calls
from grpcmesh.client.core import Core
from grpcmesh.client.flight import Flight
from grpcmesh.client.spec import Spec

_Req = TypeVar("_Req")
_Res = TypeVar("_Res")


class Caller:
    """Begins the calls of one method on one channel.

    Args:
        enter: Called before each call: starts the channel if need be, refuses if it is closed.
    """

    def __init__(self, core: Core, spec: Spec, enter: Callable[[], None]) -> None:
        self._core, self._spec, self._enter = core, spec, enter

    def _begin(
        self,
        request: Any,
        timeout: float | None,
        metadata: Any,
        wait_for_ready: bool | None,
        options: dict[str, Any],
    ) -> Flight:
        self._enter()
        core, kind = self._core, self._spec.method.kind
        call = ClientCall(self._spec.method, core.target, core.clock())
        if timeout is not None:
            call.deadline = call.started + timeout
        if metadata:
            call.metadata.extend(_checked(metadata))
        flight = Flight(core, self._spec, call, request, bool(wait_for_ready), options)
        if not kind.request_streaming:
            call.sent = 1
        elif request is not None:
            flight.request = _counted(request, call)
        flight.begin()
        return flight

    def _begin_unary(
        self,
        request: Any,
        timeout: float | None,
        metadata: Any,
        wait_for_ready: bool | None,
        options: dict[str, Any],
    ) -> Flight:
        try:
            serialized = self._spec.serialize(request)
        except Exception as e:
            code, details = grpc.StatusCode.INTERNAL, f"the request cannot be serialized: {e}"
            raise AioRpcError(code, Metadata(), Metadata(), details) from e
        return self._begin(serialized, timeout, metadata, wait_for_ready, options)


class UnaryUnary(Caller, grpc.aio.UnaryUnaryMultiCallable[_Req, _Res], Generic[_Req, _Res]):
    """See `grpc.aio.UnaryUnaryMultiCallable`."""

    def __call__(
        self,
        request: _Req,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> calls.UnaryUnary[_Req, _Res]:
        options = _options(credentials, compression)
        return calls.UnaryUnary(self._begin_unary(request, timeout, metadata, wait_for_ready, options))


class UnaryStream(Caller, grpc.aio.UnaryStreamMultiCallable[_Req, _Res], Generic[_Req, _Res]):
    """See `grpc.aio.UnaryStreamMultiCallable`."""

    def __call__(
        self,
        request: _Req,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> calls.UnaryStream[_Req, _Res]:
        options = _options(credentials, compression)
        return calls.UnaryStream(self._begin_unary(request, timeout, metadata, wait_for_ready, options))


class StreamUnary(Caller, grpc.aio.StreamUnaryMultiCallable[_Req, _Res], Generic[_Req, _Res]):
    """See `grpc.aio.StreamUnaryMultiCallable`."""

    def __call__(
        self,
        request_iterator: AsyncIterable[_Req] | Iterable[_Req] | None = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> calls.StreamUnary[_Req, _Res]:
        options = _options(credentials, compression)
        return calls.StreamUnary(self._begin(request_iterator, timeout, metadata, wait_for_ready, options))


class StreamStream(Caller, grpc.aio.StreamStreamMultiCallable[_Req, _Res], Generic[_Req, _Res]):
    """See `grpc.aio.StreamStreamMultiCallable`."""

    def __call__(
        self,
        request_iterator: AsyncIterable[_Req] | Iterable[_Req] | None = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> calls.StreamStream[_Req, _Res]:
        options = _options(credentials, compression)
        return calls.StreamStream(self._begin(request_iterator, timeout, metadata, wait_for_ready, options))


_NO_OPTIONS: dict[str, Any] = {}


def _options(
    credentials: grpc.CallCredentials | None, compression: grpc.Compression | None
) -> dict[str, Any]:
    if credentials is None and compression is None:
        return _NO_OPTIONS
    return {"credentials": credentials, "compression": compression}


def _checked(metadata: Any) -> list[tuple[str, str | bytes]]:
    """A bad value would only surface in gRPC's own task, where it leaves the call without an end."""
    checked = [(key, value) for key, value in metadata]
    for key, value in checked:
        if not isinstance(key, str) or not isinstance(value, str | bytes):
            raise TypeError(f"metadata: {key!r}: {value!r} is neither str nor bytes")
    return checked


def _counted(requests: Any, call: ClientCall) -> Any:
    """The same requests, each counted as it is sent."""
    if isinstance(requests, AsyncIterable):
        return _counted_async(requests, call)
    return _counted_sync(requests, call)


async def _counted_async(requests: AsyncIterable[_Req], call: ClientCall) -> AsyncIterator[_Req]:
    async for request in requests:
        call.sent += 1
        yield request


def _counted_sync(requests: Iterable[_Req], call: ClientCall) -> Iterable[_Req]:
    for request in requests:
        call.sent += 1
        yield request
