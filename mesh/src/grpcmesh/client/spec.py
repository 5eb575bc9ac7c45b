"""One method as a stub asked for it: its codec, and its native callable on each connection."""

from collections.abc import Callable
from typing import Any

import grpc

from grpcmesh.call import Method
from grpcmesh.client.connection import Connection
from grpcmesh.retry import is_idempotent


class Spec:
    """Args:
    serializer: Of a request; None: requests are bytes.
    deserializer: Of a response; None: responses are bytes.
    """

    __slots__ = ("_deserializer", "_natives", "_serializer", "idempotent", "method")

    def __init__(
        self,
        method: Method,
        serializer: Callable[[Any], bytes] | None,
        deserializer: Callable[[bytes], Any] | None,
    ) -> None:
        self.method = method
        self.idempotent = is_idempotent(method)
        self._serializer, self._deserializer = serializer, deserializer
        self._natives: dict[Connection, Any] = {}

    def serialize(self, request: Any) -> bytes:
        """Once per call, however many attempts it takes."""
        if self._serializer is None:
            return bytes(request)
        return self._serializer(request)

    def native(self, connection: Connection) -> Any:
        """The native multi-callable on this connection."""
        return self._natives.get(connection) or self._bind(connection)

    def _bind(self, connection: Connection) -> Any:
        self._natives = {c: native for c, native in self._natives.items() if not c.closed}
        self._natives[connection] = native = self._make(connection.channel)
        return native

    def _make(self, channel: grpc.aio.Channel) -> Any:
        path, kind = self.method.path, self.method.kind
        streaming = {
            (False, False): channel.unary_unary,
            (False, True): channel.unary_stream,
            (True, False): channel.stream_unary,
            (True, True): channel.stream_stream,
        }[kind.request_streaming, kind.response_streaming]
        # Requests that are one message come serialized: an error of the serializer is the caller's.
        serializer = self._serializer if kind.request_streaming else None
        return streaming(path, serializer, self._deserializer)
