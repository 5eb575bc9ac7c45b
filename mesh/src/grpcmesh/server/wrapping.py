"""Wraps a servicer's handler in a stack of layers, for each of the four kinds of call.

The wrapper also parses requests and serializes responses. grpc could do that, but sends failures of it as
UNKNOWN with the text of the exception.
"""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import grpc

from grpcmesh.call import Kind, Method
from grpcmesh.errors import DeadlineExceeded, FieldViolation, InvalidArgument
from grpcmesh.server.context import Context
from grpcmesh.server.outcome import Unimplemented
from grpcmesh.server.plain import plain
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Parse, Running, Serialize, Stream
from grpcmesh.server.threads import Threads


def wrap(
    handler: "grpc.RpcMethodHandler[Any, Any]",
    method: Method,
    stack: Stack,
    running: Running,
    threads: Threads | None = None,
) -> "grpc.RpcMethodHandler[Any, Any]":
    """Return a handler that runs each call of the given one through the stack.

    Args:
        handler: A handler as generated code registers it. Its behaviour is a coroutine function, an async
            generator function, or a plain function.
        method: The method that it serves.
        stack: The layers.
        running: Holds each call while it runs.
        threads: Runs behaviours that are plain functions. If None, they are refused.

    Raises:
        TypeError: The behaviour is a plain function, which would block the event loop, and there are no
            threads; or it is a generator of a method with one response.
    """
    behavior = asynchronous(handler, method, threads)
    parse, serialize = parser(handler), serializer(handler)
    if method.kind.response_streaming:
        run = _streaming(behavior, parse, serialize, method, stack, running)
    else:
        run = _unary(behavior, parse, serialize, method, stack, running)
    return CONSTRUCTORS[method.kind](run)


def kind_of(handler: "grpc.RpcMethodHandler[Any, Any]") -> Kind:
    """Return which of the four kinds of call a handler is for."""
    if handler.request_streaming:
        return Kind.BIDI_STREAM if handler.response_streaming else Kind.CLIENT_STREAM
    return Kind.SERVER_STREAM if handler.response_streaming else Kind.UNARY


def _unary(
    behavior: Any, parse: Parse, serialize: Serialize, method: Method, stack: Stack, running: Running
) -> Any:
    """Return the behaviour for a method with one response."""
    request_streaming = method.kind.request_streaming

    async def run(raw: Any, context: Any) -> Any:
        call = stack.begin(method, context)
        task = asyncio.current_task()
        running.calls[task] = call
        stream = Stream(call, context, parse, serialize) if request_streaming else None
        if stream is not None:
            running.streams.add(stream)
        try:
            stack.enter(call)
            if call.deadline is not None and call.deadline <= call.started:
                raise _late()
            if call.hold is not None:
                await call.hold()
            if stream is not None:
                response = serialize(await behavior(stream.requests(raw), stream))
                if context.code():  # with OK, the response reaches a caller whose send failed, too
                    await stream.hear_out()
            else:
                request = parse(raw)
                call.received, call.received_bytes = 1, len(raw)
                response = serialize(await behavior(request, Context(call, context)))
            call.sent, call.sent_bytes = 1, len(response)
        except BaseException as e:
            await stack.fail(call, e, stream)
            raise
        else:
            stack.succeed(call)
        finally:
            if stream is not None:
                running.streams.discard(stream)
            running.calls.pop(task, None)
            call.over = True
        return response

    return run


def _streaming(
    behavior: Any, parse: Parse, serialize: Serialize, method: Method, stack: Stack, running: Running
) -> Any:
    """Return the behaviour for a method with a stream of responses."""
    generates = inspect.isasyncgenfunction(behavior)
    request_streaming = method.kind.request_streaming

    async def run(raw: Any, context: Any) -> None:
        call = stack.begin(method, context)
        stream = Stream(call, context, parse, serialize)
        running.streams.add(stream)
        task = asyncio.current_task()
        running.calls[task] = call
        try:
            stack.enter(call)
            if call.deadline is not None and call.deadline <= call.started:
                raise _late()
            if call.hold is not None:
                await call.hold()
            request = stream.requests(raw) if request_streaming else stream.take(raw)
            if generates:
                await _forward(behavior(request, stream), stream)
            else:
                await behavior(request, stream)
            await stream.hear_out()
        except BaseException as e:
            await stack.fail(call, e, stream)
            raise
        else:
            stack.succeed(call)
        finally:
            running.streams.discard(stream)
            running.calls.pop(task, None)
            call.over = True

    return run


async def _forward(responses: Any, stream: Stream) -> None:
    try:
        async for response in responses:
            await stream.write(response)
    finally:
        await responses.aclose()  # leaving the loop early does not run the generator's own `finally`


def _late() -> DeadlineExceeded:
    return DeadlineExceeded("the deadline had passed before the call was started")


def serializer(handler: "grpc.RpcMethodHandler[Any, Any]") -> Serialize:
    """Return the function that serializes a handler's responses."""
    return handler.response_serializer or _identity


def parser(handler: "grpc.RpcMethodHandler[Any, Any]") -> Parse:
    """Return the function that parses a handler's requests. It raises InvalidArgument for bad bytes."""
    deserialize = handler.request_deserializer
    if deserialize is None:
        return _identity

    def parse(raw: bytes) -> Any:
        try:
            return deserialize(raw)
        except Exception as e:  # whatever a deserializer raises: the bytes are the caller's
            raise InvalidArgument([FieldViolation("", "the message cannot be parsed")]) from e

    return parse


def _identity(message: Any) -> Any:
    return message


def asynchronous(
    handler: "grpc.RpcMethodHandler[Any, Any]", method: Method, threads: Threads | None = None
) -> Any:
    """Return the behaviour of a handler; a plain function is made to run in a thread. Raises as `wrap`."""
    behavior: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    if inspect.iscoroutinefunction(behavior):
        return behavior
    if inspect.isasyncgenfunction(behavior) and method.kind.response_streaming:
        return behavior
    if getattr(behavior, "__module__", "").endswith("_pb2_grpc"):
        return unimplemented  # a method of the generated base class that the servicer left alone
    if inspect.iscoroutinefunction(getattr(behavior, "__call__", None)):  # noqa: B004 - of an object
        return behavior
    generates = inspect.isasyncgenfunction(behavior) or inspect.isgeneratorfunction(behavior)
    if threads is not None and (method.kind.response_streaming or not generates):
        return plain(behavior, method, threads)
    raise TypeError(
        f"{method.full_name}: must be `async def` (without `yield`, if it has one response), is {behavior!r}"
    )


async def unimplemented(request: Any, context: Any) -> Any:
    """Serve a method that is not implemented. Raises Unimplemented."""
    raise Unimplemented("not implemented")


#: Functions that make a grpc handler from a behaviour, by kind.
CONSTRUCTORS: dict[Kind, Callable[[Any], "grpc.RpcMethodHandler[Any, Any]"]] = {
    Kind.UNARY: grpc.unary_unary_rpc_method_handler,
    Kind.SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
    Kind.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
    Kind.BIDI_STREAM: grpc.stream_stream_rpc_method_handler,
}
