"""One method as a stub asked for it: its codec, its layers, and its native callable on each connection."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import grpc

from grpcmesh.call import AttemptLayer, ClientLayer, Method
from grpcmesh.client.attempt import NativeAttempt, StreamAttempt, UnaryAttempt
from grpcmesh.client.connection import Connection
from grpcmesh.client.stack import Hooks

if TYPE_CHECKING:
    from grpcmesh.client.core import Core

Serializer = Callable[[Any], bytes] | None
Deserializer = Callable[[bytes], Any] | None


class Spec:
    """What all calls of one multi-callable share.

    Args:
        serializer: Of a request; None: requests are bytes.
        deserializer: Of a response; None: responses are bytes.
    """

    __slots__ = (
        "__weakref__", "_core", "_deserializer", "_natives", "_serializer", "attempt", "attempt_hooks",
        "hooks", "method", "settings",
    )  # fmt: skip

    def __init__(
        self, core: "Core", method: Method, serializer: Serializer, deserializer: Deserializer
    ) -> None:
        self.method = method
        self._serializer, self._deserializer = serializer, deserializer
        self._core = core
        self.configure()
        self.hooks = Hooks(core.layers, ClientLayer, method)
        #: Makes an attempt.
        self.attempt: type[NativeAttempt] = StreamAttempt if method.kind.response_streaming else UnaryAttempt
        self._natives: dict[Connection, Any] = {}

    def of(self, core: "Core", method: Method) -> "Spec":
        """Return the same for another method, of the same kind and with the same codec."""
        return Spec(core, method, self._serializer, self._deserializer)

    def configure(self) -> None:
        """The settings of the target have changed."""
        core, method = self._core, self.method
        self.settings = core.settings.of(method)
        self.attempt_hooks = Hooks(core.attempt_layers, AttemptLayer, method)

    def serialize(self, request: Any) -> bytes:
        """Once per message, however many attempts it takes."""
        if self._serializer is None:
            return request if type(request) is bytes else bytes(memoryview(request))
        return self._serializer(request)

    def deserialize(self, data: bytes) -> Any:
        """One response."""
        return data if self._deserializer is None else self._deserializer(data)

    def native(self, connection: Connection) -> Any:
        """Return the native multi-callable on this connection. It takes and gives bytes."""
        return self._natives.get(connection) or self._bind(connection)

    def _bind(self, connection: Connection) -> Any:
        self._natives = {c: native for c, native in self._natives.items() if not c.closed}
        self._natives[connection] = native = self._make(connection.channel)
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
