"""One method as a stub registered it: its codec, its layers, and its native callable on each connection."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from grpcmesh.call import AttemptLayer, ClientLayer, Method
from grpcmesh.client.attempt import NativeAttempt, StreamAttempt, UnaryAttempt
from grpcmesh.client.connection import Connection
from grpcmesh.client.hedged import HedgedStreamAttempt
from grpcmesh.client.stack import Hooks

if TYPE_CHECKING:
    from grpcmesh.client.core import Core

Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None


class Spec:
    """The state that all calls of one multi-callable share.

    Args:
        serializer: Turns a request into bytes. If None, requests are bytes.
        deserializer: Parses a response. If None, responses are bytes.
    """

    __slots__ = (
        "__weakref__", "_codec", "_core", "attempt", "attempt_hooks", "deserialize", "hooks", "method",
        "natives", "serialize", "settings", "streams_requests",
    )  # fmt: skip

    def __init__(
        self, core: "Core", method: Method, serializer: Serializer, deserializer: Deserializer
    ) -> None:
        self.method = method
        self.streams_requests = method.kind.request_streaming
        self._core, self._codec = core, (serializer, deserializer)
        #: Convert one message to bytes and back. They may raise anything.
        self.serialize: Callable[[Any], bytes] = serializer or _as_bytes
        self.deserialize: Callable[[bytes], Any] = deserializer or _as_it_is
        self.configure()
        self.hooks = Hooks(core.layers, ClientLayer, method)
        #: The native multi-callable on each connection. It takes and gives bytes.
        self.natives: dict[Connection, Any] = {}

    def of(self, core: "Core", method: Method) -> "Spec":
        """Return a spec of another method, with the same codec. The method is of the same kind."""
        return Spec(core, method, *self._codec)

    def configure(self) -> None:
        """Apply the target's current settings to the next calls."""
        core, method = self._core, self.method
        self.settings = core.settings.of(method)
        self.attempt_hooks = Hooks(core.attempt_layers, AttemptLayer, method)
        #: Makes an attempt.
        self.attempt: type[NativeAttempt] = UnaryAttempt
        if method.kind.response_streaming:
            hedged = self.settings.rules.hedging is not None
            self.attempt = HedgedStreamAttempt if hedged else StreamAttempt

    def bind(self, connection: Connection) -> Any:
        """Make the native multi-callable on this connection, and drop those of closed connections."""
        self.natives = {c: native for c, native in self.natives.items() if not c.closed}
        self.natives[connection] = native = self._make(connection.channel)
        return native

    def _make(self, channel: grpc.aio.Channel) -> Any:
        kind = self.method.kind
        streaming: Callable[[str], Any] = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[kind.request_streaming, kind.response_streaming]
        return streaming(self.method.path)


def _as_bytes(request: Any) -> bytes:
    return request if type(request) is bytes else bytes(memoryview(request))


def _as_it_is(response: bytes) -> bytes:
    return response
