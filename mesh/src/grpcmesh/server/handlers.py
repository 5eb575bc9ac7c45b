"""The methods of a server, each wrapped once, however generated code registers it."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import grpc

from grpcmesh.call import Kind, Method
from grpcmesh.server.streams import Stream
from grpcmesh.server.wrapping import Stack, kind_of, unimplemented, wrap

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = Any

#: What a call counts as whose method this server does not have: callers cannot invent labels.
UNKNOWN_METHOD = Method("/unknown/unknown", "unknown", "unknown", Kind.UNARY)


class Handlers(grpc.GenericRpcHandler):
    """Finds the wrapped handler of a call.

    Args:
        stack_for: The stack of a method.
        streams: Where response streams are entered while they run.
    """

    def __init__(self, stack_for: Callable[[Method], Stack], streams: set[Stream]) -> None:
        self._stack_for, self._streams = stack_for, streams
        self._wrapped: dict[str, Handler] = {}
        self._generic: list[grpc.GenericRpcHandler] = []
        self._unknown = wrap(
            grpc.stream_stream_rpc_method_handler(unimplemented),  # reads nothing: right for all four kinds
            Method(UNKNOWN_METHOD.path, "unknown", "unknown", Kind.BIDI_STREAM),
            stack_for(UNKNOWN_METHOD),
            streams,
        )
        #: Names of the services that have been added.
        self.services: set[str] = set()

    def methods(self) -> list[Method]:
        """Those known so far."""
        return [Method.parse(path, kind_of(handler)) for path, handler in self._wrapped.items()]

    def add_registered_method_handlers(
        self, service: str, handlers: Mapping[str, Handler]
    ) -> dict[str, Handler]:
        """Wraps a service's methods; returns them.

        Raises:
            TypeError: one of them is not `async def`.
        """
        self.services.add(service)
        return {name: self._wrap(f"/{service}/{name}", handler) for name, handler in handlers.items()}

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Takes handlers whose methods are known only when they are called."""
        for handler in handlers:
            self._generic.append(handler)
            if isinstance(handler, grpc.ServiceRpcHandler):
                self.services.add(handler.service_name())

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """The wrapped handler; that of an unknown method answers UNIMPLEMENTED."""
        method: Any = handler_call_details.method
        path: str = method if isinstance(method, str) else method.decode()
        return self._wrapped.get(path) or self._search(path, handler_call_details)

    def _search(self, path: str, details: grpc.HandlerCallDetails) -> Handler:
        for generic in self._generic:
            handler = generic.service(details)
            if handler is not None:
                return self._wrap(path, handler)
        return self._unknown

    def _wrap(self, path: str, handler: Handler) -> Handler:
        if path not in self._wrapped:
            method = Method.parse(path, kind_of(handler))
            self._wrapped[path] = wrap(handler, method, self._stack_for(method), self._streams)
        return self._wrapped[path]
