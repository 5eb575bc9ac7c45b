"""The multi-callables that stubs hold: one for each kind of call."""

from collections.abc import AsyncIterable, Callable, Iterable
from typing import Any, Generic, TypeVar

import grpc

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
        core, spec = self._core, self._spec
        call = ClientCall(spec.method, core.target, core.clock())
        settings = spec.settings
        limit = settings.timeout
        if timeout is None or (limit is not None and limit < timeout):
            timeout = limit
        if timeout is not None:
            call.deadline = call.started + timeout
        patient = settings.wait_for_ready if wait_for_ready is None else bool(wait_for_ready)
        flight = Flight(core, spec, call, request, patient, options)
        flight.begin(metadata)
        return flight


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
        return calls.UnaryUnary(self._begin(request, timeout, metadata, wait_for_ready, options))


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
        return calls.UnaryStream(self._begin(request, timeout, metadata, wait_for_ready, options))


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
