"""Runs server interceptors of grpc.aio inside the layers, after authorization and admission.

grpc.aio itself runs interceptors before it looks for a handler, and so before any layer. Here they are part
of the handler: each call asks them for a handler, and the handler that they return serves the call.
"""

import functools
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any, NamedTuple

import grpc

from grpcmesh.call import Kind, Method
from grpcmesh.errors import FieldViolation, InvalidArgument
from grpcmesh.server.outcome import Unimplemented
from grpcmesh.server.threads import Threads
from grpcmesh.server.wrapping import CONSTRUCTORS, asynchronous, kind_of, parser, serializer

_Continuation = Callable[[grpc.HandlerCallDetails], Awaitable[Any]]


class Details(NamedTuple):
    """The details of a call that an interceptor sees. It has the fields of `grpc.HandlerCallDetails`."""

    method: str
    invocation_metadata: tuple[tuple[str, str | bytes], ...]


def intercepted(
    handler: Any,
    method: Method,
    interceptors: Sequence[grpc.aio.ServerInterceptor],
    threads: Threads | None = None,
) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return a handler of raw messages that asks the interceptors before each call.

    Args:
        handler: The handler that the innermost continuation returns.
        method: The method that it serves.
        interceptors: Outermost first. Each may return the handler of its continuation, a wrapper of it, or
            another handler of any kind. If it returns None, the call ends with UNIMPLEMENTED.
        threads: Runs behaviours that are plain functions.
    """

    async def lookup(details: grpc.HandlerCallDetails) -> Any:
        return handler

    ask: _Continuation = lookup
    for interceptor in reversed(interceptors):
        ask = functools.partial(interceptor.intercept_service, ask)

    async def one(request: Any, context: Any) -> Any:
        chosen = await ask(_details(method, context))
        return await _respond(chosen, method, request, context, threads)

    async def many(request: Any, context: Any) -> None:
        chosen = await ask(_details(method, context))
        await _stream(chosen, method, request, context, threads)

    return CONSTRUCTORS[method.kind](many if method.kind.response_streaming else one)


def _details(method: Method, context: Any) -> Any:
    return Details(method.path, tuple(context.invocation_metadata()))


async def _respond(
    handler: Any, method: Method, request: Any, context: Any, threads: Threads | None
) -> bytes:
    """Serve a call with one response."""
    kind, behavior = _checked(handler, method, threads)
    if kind.response_streaming:
        raise TypeError(f"{method.full_name}: an interceptor returned a handler that streams responses")
    message = await _request(handler, kind, method, request)
    return bytes(serializer(handler)(await behavior(message, _Messages(handler, context))))


async def _stream(handler: Any, method: Method, request: Any, context: Any, threads: Threads | None) -> None:
    """Serve a call with a stream of responses."""
    kind, behavior = _checked(handler, method, threads)
    messages = _Messages(handler, context)
    message = await _request(handler, kind, method, request)
    if inspect.isasyncgenfunction(behavior):
        responses = behavior(message, messages)
        try:
            async for response in responses:
                await messages.write(response)
        finally:
            await responses.aclose()
        return
    response = await behavior(message, messages)
    if not kind.response_streaming:
        await messages.write(response)


def _checked(handler: Any, method: Method, threads: Threads | None) -> tuple[Kind, Any]:
    if handler is None:
        raise Unimplemented("not implemented")
    kind = kind_of(handler)
    return kind, asynchronous(handler, Method(method.path, method.service, method.name, kind), threads)


async def _request(handler: Any, kind: Kind, method: Method, request: Any) -> Any:
    """Return the request in the form that the handler expects, whatever the method's own kind."""
    parse = parser(handler)
    if kind.request_streaming:
        raw = request if method.kind.request_streaming else _single(request)
        return _parsed(raw, parse)
    if not method.kind.request_streaming:
        return parse(request)
    async for first in request:
        return parse(first)
    raise InvalidArgument([FieldViolation("", "a request is needed")])


async def _single(request: bytes) -> AsyncIterator[bytes]:
    yield request


async def _parsed(raw: AsyncIterator[bytes], parse: Callable[[bytes], Any]) -> AsyncIterator[Any]:
    async for message in raw:
        yield parse(message)


class _Messages:
    """The context for a handler with its own message types, over a context that carries bytes."""

    def __init__(self, handler: Any, context: Any) -> None:
        self._context = context
        self._parse, self._serialize = parser(handler), serializer(handler)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    async def read(self) -> Any:
        """Return the next request, or `grpc.aio.EOF`."""
        raw = await self._context.read()
        return raw if raw is grpc.aio.EOF else self._parse(raw)

    async def write(self, message: Any) -> None:
        """Send a response."""
        await self._context.write(self._serialize(message))
