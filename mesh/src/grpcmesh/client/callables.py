"""The multi-callables that stubs hold: one for each kind of call."""

from collections.abc import AsyncIterable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import grpc

from grpcmesh.call import ClientCall, Method
from grpcmesh.client import calls, interceptors
from grpcmesh.client.core import Core
from grpcmesh.client.flight import Flight
from grpcmesh.client.spec import Spec

_Req = TypeVar("_Req")
_Res = TypeVar("_Res")

if TYPE_CHECKING:
    from grpc.aio import StreamStreamMultiCallable as _StreamStream
    from grpc.aio import StreamUnaryMultiCallable as _StreamUnary
else:
    # Below grpcio 1.84 these two take no type parameters.
    class _StreamUnary(grpc.aio.StreamUnaryMultiCallable, Generic[_Req, _Res]):
        pass

    class _StreamStream(grpc.aio.StreamStreamMultiCallable, Generic[_Req, _Res]):
        pass


_NO_OPTIONS: dict[str, Any] = {}


class Caller:
    """Begins the calls of one method on one channel.

    Args:
        enter: Starts the channel if need be, and refuses if it is closed.
        interceptors: Hooks of grpc.aio interceptors for this kind of call, outermost first. They run once
            per logical call.
    """

    _flight: type[Flight] = Flight

    def __init__(
        self, core: Core, spec: Spec, enter: Callable[[], None], interceptors: Sequence[Any] = ()
    ) -> None:
        self._core, self._spec, self._enter = core, spec, enter
        self._interceptors = interceptors

    def _begin(
        self,
        request: Any,
        timeout: float | None,
        metadata: Any,
        credentials: grpc.CallCredentials | None,
        wait_for_ready: bool | None,
        compression: grpc.Compression | None,
        spec: Spec | None = None,
    ) -> Flight:
        core, spec = self._core, spec or self._spec
        if not core.open:
            self._enter()
        options = _NO_OPTIONS
        if credentials is not None or compression is not None:
            options = self._options(credentials, compression)
        call = ClientCall(spec.method, core.target, core.clock())
        settings = spec.settings
        limit = settings.timeout
        if timeout is None or (limit is not None and limit < timeout):
            timeout = limit
        if timeout is not None:
            call.deadline = call.started + timeout
        patient = settings.wait_for_ready if wait_for_ready is None else bool(wait_for_ready)
        flight = self._flight(core, spec, call, request, patient, options)
        flight.begin(metadata)
        return flight

    def _options(
        self, credentials: grpc.CallCredentials | None, compression: grpc.Compression | None
    ) -> dict[str, Any]:
        if credentials is not None and not self._core.secure:
            raise grpc.aio.UsageError("Call credentials are only valid on secure channels")
        return {"credentials": credentials, "compression": compression}

    def _intercepted(
        self,
        request: Any,
        timeout: float | None,
        metadata: Any,
        credentials: grpc.CallCredentials | None,
        wait_for_ready: bool | None,
        compression: grpc.Compression | None,
    ) -> interceptors.Chain:
        if not self._core.open:
            self._enter()
        details = interceptors.details(self._spec.method.path, timeout, metadata, credentials, wait_for_ready)

        def call(details: grpc.aio.ClientCallDetails, request: Any) -> Flight:
            spec = self._spec
            method: Any = details.method  # bytes, whatever its type says
            path = method.decode() if isinstance(method, bytes) else method
            if path != spec.method.path:
                spec = spec.of(self._core, Method.parse(path, spec.method.kind))
            return self._begin(
                request,
                details.timeout,
                details.metadata,
                details.credentials,
                details.wait_for_ready,
                compression,
                spec,
            )

        return interceptors.Chain(self._interceptors, details, request, call, self._core)


class UnaryUnary(Caller, grpc.aio.UnaryUnaryMultiCallable[_Req, _Res], Generic[_Req, _Res]):
    """Calls a unary method. See `grpc.aio.UnaryUnaryMultiCallable`."""

    def __call__(
        self,
        request: _Req,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.UnaryUnaryCall[_Req, _Res]:
        if self._interceptors:
            arguments = (request, timeout, metadata, credentials, wait_for_ready, compression)
            return interceptors.UnaryUnary(self._intercepted(*arguments), calls.UnaryUnary)
        flight = self._begin(request, timeout, metadata, credentials, wait_for_ready, compression)
        return calls.UnaryUnary(flight)


class UnaryStream(Caller, grpc.aio.UnaryStreamMultiCallable[_Req, _Res], Generic[_Req, _Res]):
    """Calls a server-streaming method. See `grpc.aio.UnaryStreamMultiCallable`."""

    def __call__(
        self,
        request: _Req,
        *,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.UnaryStreamCall[_Req, _Res]:
        arguments = (request, timeout, metadata, credentials, wait_for_ready, compression)
        if self._interceptors:
            return interceptors.UnaryStream(self._intercepted(*arguments), calls.UnaryStream)
        return calls.UnaryStream(self._begin(*arguments))


class StreamUnary(Caller, _StreamUnary[_Req, _Res], Generic[_Req, _Res]):
    """Calls a client-streaming method. See `grpc.aio.StreamUnaryMultiCallable`."""

    def __call__(
        self,
        request_iterator: AsyncIterable[_Req] | Iterable[_Req] | None = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.StreamUnaryCall[_Req, _Res]:
        arguments = (request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
        if self._interceptors:
            return interceptors.StreamUnary(self._intercepted(*arguments), calls.StreamUnary)
        return calls.StreamUnary(self._begin(*arguments))


class StreamStream(Caller, _StreamStream[_Req, _Res], Generic[_Req, _Res]):
    """Calls a bidirectional-streaming method. See `grpc.aio.StreamStreamMultiCallable`."""

    def __call__(
        self,
        request_iterator: AsyncIterable[_Req] | Iterable[_Req] | None = None,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> grpc.aio.StreamStreamCall[_Req, _Res]:
        arguments = (request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
        if self._interceptors:
            return interceptors.StreamStream(self._intercepted(*arguments), calls.StreamStream)
        return calls.StreamStream(self._begin(*arguments))
