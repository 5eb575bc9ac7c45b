"""The multi-callables that stubs of a synchronous channel hold: one for each kind of call."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc

from grpcmesh.call import AttemptLayer
from grpcmesh.client.callables import Caller
from grpcmesh.client.spec import Spec
from grpcmesh.client.stack import Hooks
from grpcmesh.client.sync.attempt import BlockingCall, StreamAttempt, UnaryAttempt
from grpcmesh.client.sync.calls import StreamCall, SyncCall
from grpcmesh.client.sync.flight import BlockingFlight, SyncFlight

if TYPE_CHECKING:
    from grpcmesh.client.sync.channel import SyncChannel


class SyncSpec(Spec):
    """The state that all calls of one multi-callable share. Its native calls are futures and streams."""

    __slots__ = ()

    def configure(self) -> None:
        core, method = self._core, self.method
        settings = core.settings.of(method)
        streams = method.kind.response_streaming
        if streams:
            # Hedged streams would need a thread for each attempt, to see which one answers first.
            settings.rules.hedging = None
        self.attempt_hooks = Hooks(core.attempt_layers, AttemptLayer, method)
        self.attempt = StreamAttempt if streams else UnaryAttempt
        self.settings = settings  # last, and whole: threads read it without the lock

    def _make(self, channel: Any) -> Any:
        native = super()._make(channel.calls)
        return native if self.method.kind.response_streaming else native.future


class BlockingSpec(SyncSpec):
    """The state of calls that run in the threads of their callers."""

    __slots__ = ()

    def _make(self, channel: Any) -> Any:
        return partial(BlockingCall, channel.calls.unary_unary(self.method.path).with_call)


class SyncCaller(Caller):
    """Begins the calls of one method on one channel.

    Args:
        channel: The channel. It lives at least as long as its multi-callables and their calls.
    """

    _flight: type[Any] = SyncFlight

    def __init__(self, channel: "SyncChannel", spec: Spec) -> None:
        super().__init__(channel.core, spec, channel.enter)
        self._channel = channel

    def _options(
        self, credentials: grpc.CallCredentials | None, compression: grpc.Compression | None
    ) -> dict[str, Any]:
        if credentials is not None and not self._core.secure:
            raise ValueError("call credentials are only valid on secure channels")
        return {"credentials": credentials, "compression": compression}


class UnaryUnary(SyncCaller, grpc.UnaryUnaryMultiCallable):  # type: ignore[type-arg]
    """Calls a unary method. See `grpc.UnaryUnaryMultiCallable`."""

    _flight = BlockingFlight

    def __init__(self, channel: "SyncChannel", spec: Spec, futures: Spec) -> None:
        super().__init__(channel, spec)
        self._futures = StreamUnary(channel, futures)

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        flight = self._run(request, timeout, metadata, credentials, wait_for_ready, compression)
        return flight.returned()

    def with_call(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[Any, grpc.Call]:
        flight = self._run(request, timeout, metadata, credentials, wait_for_ready, compression)
        return flight.returned(), SyncCall(flight, self._channel)

    def future(self, request: Any, *arguments: Any, **more: Any) -> Any:
        return self._futures.future(request, *arguments, **more)

    def _run(self, *arguments: Any) -> Any:
        self._channel.host.refuse_own_thread()
        if self._spec.settings.rules.hedging is not None:
            return self._futures.run(*arguments)  # several attempts at once: not in this thread
        flight: Any = self._begin(*arguments)
        flight.run()
        return flight


class StreamUnary(SyncCaller, grpc.StreamUnaryMultiCallable):  # type: ignore[type-arg]
    """Calls a client-streaming method. See `grpc.StreamUnaryMultiCallable`."""

    def __call__(
        self,
        request_iterator: Iterator[Any],
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        flight = self.run(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
        return flight.returned()

    def with_call(
        self,
        request_iterator: Iterator[Any],
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> tuple[Any, grpc.Call]:
        flight = self.run(request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
        return flight.returned(), SyncCall(flight, self._channel)

    def future(
        self,
        request_iterator: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        arguments = (request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
        return SyncCall(self._begin(*arguments), self._channel)  # type: ignore[arg-type]

    def run(self, *arguments: Any) -> Any:
        """Make a call, and return it when it has ended."""
        self._channel.host.refuse_own_thread()
        flight: Any = self._begin(*arguments)
        flight.run()
        return flight


class UnaryStream(SyncCaller, grpc.UnaryStreamMultiCallable):  # type: ignore[type-arg]
    """Calls a server-streaming method. See `grpc.UnaryStreamMultiCallable`."""

    def __call__(
        self,
        request: Any,
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        arguments = (request, timeout, metadata, credentials, wait_for_ready, compression)
        return StreamCall(self._begin(*arguments), self._channel)  # type: ignore[arg-type]


class StreamStream(SyncCaller, grpc.StreamStreamMultiCallable):  # type: ignore[type-arg]
    """Calls a bidirectional-streaming method. See `grpc.StreamStreamMultiCallable`."""

    def __call__(
        self,
        request_iterator: Iterator[Any],
        timeout: float | None = None,
        metadata: Any = None,
        credentials: grpc.CallCredentials | None = None,
        wait_for_ready: bool | None = None,
        compression: grpc.Compression | None = None,
    ) -> Any:
        arguments = (request_iterator, timeout, metadata, credentials, wait_for_ready, compression)
        return StreamCall(self._begin(*arguments), self._channel)  # type: ignore[arg-type]
