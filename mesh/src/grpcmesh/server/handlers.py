"""Holds the methods of a server, each wrapped once, whichever way generated code registers it."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import grpc

from grpcmesh.call import Kind, Method, Purpose
from grpcmesh.hooks import let_through
from grpcmesh.server.accept import REPLACEMENT, looked_up
from grpcmesh.server.intercept import intercepted
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Running
from grpcmesh.server.threads import Threads
from grpcmesh.server.wrapping import asynchronous, kind_of, unimplemented, wrap

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]
else:
    Handler = Any

#: The method that calls of unknown methods count as, so that callers cannot create metric labels.
UNKNOWN_METHOD = Method("/unknown/unknown", "unknown", "unknown", Kind.BIDI_STREAM)

#: The most cached wrapped handlers that generic handlers have returned. It is bounded because a caller
#: chooses the path, and a generic handler may accept any path.
MOST_FOUND = 512

_log = logging.getLogger(__name__)


class _Registered(NamedTuple):
    """A handler as it was registered, before it is wrapped."""

    method: Method
    handler: Handler
    purpose: Purpose


class Handlers(grpc.GenericRpcHandler):
    """Finds the wrapped handler of a call.

    The purpose of a call (`Purpose`) depends on who registered its handler. Services of the mesh are
    registered through `registrar`. All others are the application's, whatever their path.

    Args:
        running: Holds each call while it runs.
        threads: Runs methods that are plain functions. If None, they are refused.
    """

    def __init__(self, running: Running, threads: Threads | None = None) -> None:
        self._running, self._threads = running, threads
        self._interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
        self._stacks: Mapping[Purpose, Stack] = {}
        self._registered: dict[str, _Registered] = {}
        self._generic: list[tuple[grpc.GenericRpcHandler, Purpose]] = []
        self._wrapped: dict[str, Handler] = {}
        self._found: dict[tuple[str, int], tuple[Handler, Handler]] = {}
        self._unknown: Handler
        self._broken: Handler
        #: Names of the services that have been added, by purpose.
        self.services: dict[Purpose, set[str]] = {purpose: set() for purpose in Purpose}

    def registrar(self, purpose: Purpose) -> "Registrar":
        """Return an object to which services of a purpose can be added."""
        return Registrar(self, purpose)

    def methods(self, purpose: Purpose | None = None) -> list[Method]:
        """Return the methods that have been added, of one purpose or of all."""
        return [r.method for r in self._registered.values() if purpose in (None, r.purpose)]

    def add(self, purpose: Purpose, service: str, handlers: Mapping[str, Handler]) -> None:
        """Add a service's methods. A method of the mesh replaces one of the application with the same path.

        Raises:
            TypeError: One of the methods cannot be served; see `wrap`.
        """
        self.services[purpose].add(service)
        for name, handler in handlers.items():
            method = Method.parse(f"/{service}/{name}", kind_of(handler))
            asynchronous(handler, method, self._threads)
            if method.path not in self._registered or purpose is not Purpose.APPLICATION:
                self._registered[method.path] = _Registered(method, handler, purpose)

    def add_generic(self, purpose: Purpose, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Add handlers whose methods are known only when they are called."""
        for handler in handlers:
            self._generic.append((handler, purpose))
            if isinstance(handler, grpc.ServiceRpcHandler):
                self.services[purpose].add(handler.service_name())

    def seal(
        self, stacks: Mapping[Purpose, Stack], interceptors: Sequence[grpc.aio.ServerInterceptor] = ()
    ) -> None:
        """Wrap the handlers that have been added. Call it once, before calls are served.

        Args:
            stacks: The stack of layers for calls of each purpose.
            interceptors: Interceptors of grpc.aio. They run inside the layers, around the application's
                calls.
        """
        self._stacks, self._interceptors = stacks, interceptors
        for path, (method, handler, purpose) in self._registered.items():
            self._wrapped[path] = self._wrap(method, handler, purpose)
        # They read nothing: right for all four kinds.
        self._unknown = self._answering(unimplemented)
        self._broken = self._answering(_lookup_failed)

    def add_bare(self, path: str, handler: Handler) -> None:
        """Serve a method of the mesh itself outside all layers. Only after `seal`."""
        self._wrapped[path] = handler

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Handler:
        """Return the wrapped handler of a call. For an unknown method it answers UNIMPLEMENTED."""
        method: Any = handler_call_details.method
        path: str = method if isinstance(method, str) else method.decode(errors="replace")
        if REPLACEMENT not in path:  # else grpc may decode the path again when the call ends
            looked_up()
        return self._wrapped.get(path) or self._search(path, handler_call_details)

    def _search(self, path: str, details: grpc.HandlerCallDetails) -> Handler:
        if not _well_formed(path):
            return self._unknown
        try:
            for generic, purpose in self._generic:
                handler = generic.service(details)
                if handler is not None:
                    return self._remember(path, handler, purpose)
        except BaseException as e:  # what the application's own code raises is no business of the caller's
            let_through(e)
            _log.exception("a generic handler failed")
            return self._broken
        return self._unknown

    def _remember(self, path: str, handler: Handler, purpose: Purpose) -> Handler:
        key = (path, id(handler))
        known = self._found.get(key)
        if known is None:
            if len(self._found) >= MOST_FOUND:
                del self._found[next(iter(self._found))]
            wrapped = self._wrap(Method.parse(path, kind_of(handler)), handler, purpose)
            known = self._found[key] = (wrapped, handler)  # the handler is kept: its id stays its own
        return known[0]

    def _wrap(self, method: Method, handler: Handler, purpose: Purpose) -> Handler:
        if self._interceptors and purpose is Purpose.APPLICATION:
            handler = intercepted(handler, method, self._interceptors, self._threads)
        return wrap(handler, method, self._stacks[purpose], self._running, self._threads)

    def _answering(self, behavior: Callable[[Any, Any], Any]) -> Handler:
        handler: Any = grpc.stream_stream_rpc_method_handler(behavior)
        return wrap(handler, UNKNOWN_METHOD, self._stacks[Purpose.UNKNOWN], self._running)


class Registrar:
    """Registers servicers of one purpose. It has the two methods of a server that generated code calls."""

    def __init__(self, handlers: Handlers, purpose: Purpose) -> None:
        self._handlers, self._purpose = handlers, purpose

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Behave as the method of `grpc.aio.Server`."""
        self._handlers.add_generic(self._purpose, generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, Handler]
    ) -> None:
        """Behave as the method of `grpc.aio.Server`."""
        self._handlers.add(self._purpose, service_name, method_handlers)


def _well_formed(path: str) -> bool:
    """Return whether a path has the form `/service/method` of the gRPC protocol."""
    service, _, name = path[1:].rpartition("/")
    return path[:1] == "/" and bool(service and name) and "//" not in path and REPLACEMENT not in path


async def _lookup_failed(request: Any, context: Any) -> NoReturn:
    raise RuntimeError("the handler of this path could not be found out")
