"""The one place that knows the four kinds of call: wraps a servicer's handler in a stack of layers.

The wrapper also parses requests and serializes responses. grpc would do that just as well, but sends
its failures as UNKNOWN with the text of the exception.
"""

import inspect
from collections.abc import Callable
from typing import Any

import grpc

from grpcmesh.call import Kind, Method
from grpcmesh.errors import DeadlineExceeded, FieldViolation, InvalidArgument
from grpcmesh.server.context import Context
from grpcmesh.server.outcome import Unimplemented
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Parse, Serialize, Stream


def wrap(
    handler: "grpc.RpcMethodHandler[Any, Any]", method: Method, stack: Stack, streams: set[Stream]
) -> "grpc.RpcMethodHandler[Any, Any]":
    """The same method, run through the stack once.

    Args:
        handler: As generated code registers it; its behaviour is a coroutine function or an async
            generator function.
        method: Which one, of which kind.
        stack: Its layers.
        streams: Where streams are entered while they run, to be ended early.

    Raises:
        TypeError: the behaviour is neither, so it would block the event loop.
    """
    behavior = asynchronous(handler, method)
    parse, serialize = parser(handler), serializer(handler)
    if method.kind.response_streaming:
        run = _streaming(behavior, parse, serialize, method, stack, streams)
    else:
        run = _unary(behavior, parse, serialize, method, stack, streams)
    return CONSTRUCTORS[method.kind](run)


def kind_of(handler: "grpc.RpcMethodHandler[Any, Any]") -> Kind:
    """Which of the four kinds a handler is for."""
    if handler.request_streaming:
        return Kind.BIDI_STREAM if handler.response_streaming else Kind.CLIENT_STREAM
    return Kind.SERVER_STREAM if handler.response_streaming else Kind.UNARY


def _unary(
    behavior: Any, parse: Parse, serialize: Serialize, method: Method, stack: Stack, streams: set[Stream]
) -> Any:
    """Both kinds with one response."""
    request_streaming = method.kind.request_streaming

    async def run(raw: Any, context: Any) -> Any:
        call = stack.begin(method, context)
        stream = Stream(call, context, parse, serialize) if request_streaming else None
        if stream is not None:
            streams.add(stream)
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
                call.received = 1
                response = serialize(await behavior(request, Context(call, context)))
            call.sent = 1
        except BaseException as e:
            await stack.fail(call, e, stream)
            raise
        else:
            stack.succeed(call)
        finally:
            if stream is not None:
                streams.discard(stream)
            call.over = True
        return response

    return run


def _streaming(
    behavior: Any, parse: Parse, serialize: Serialize, method: Method, stack: Stack, streams: set[Stream]
) -> Any:
    """Both kinds with a stream of responses."""
    generates = inspect.isasyncgenfunction(behavior)
    request_streaming = method.kind.request_streaming

    async def run(raw: Any, context: Any) -> None:
        call = stack.begin(method, context)
        stream = Stream(call, context, parse, serialize)
        streams.add(stream)
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
            streams.discard(stream)
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
    """Return what makes bytes of a handler's responses."""
    return handler.response_serializer or _identity


def parser(handler: "grpc.RpcMethodHandler[Any, Any]") -> Parse:
    """Return what makes requests of bytes. It raises InvalidArgument where they are none."""
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


def asynchronous(handler: "grpc.RpcMethodHandler[Any, Any]", method: Method) -> Any:
    """Return the behaviour of a handler. Raises TypeError where it would block the event loop."""
    behavior: Any = (
        handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    )
    if inspect.iscoroutinefunction(behavior):
        return behavior
    if inspect.isasyncgenfunction(behavior) and method.kind.response_streaming:
        return behavior
    if getattr(behavior, "__module__", "").endswith("_pb2_grpc"):
        return unimplemented  # a method of the generated base class that the servicer left alone
    raise TypeError(f"{method.full_name}: must be `async def`, is {behavior!r}")


async def unimplemented(request: Any, context: Any) -> Any:
    """A behaviour for what is not there."""
    raise Unimplemented("not implemented")


#: What makes a handler of a kind.
CONSTRUCTORS: dict[Kind, Callable[[Any], "grpc.RpcMethodHandler[Any, Any]"]] = {
    Kind.UNARY: grpc.unary_unary_rpc_method_handler,
    Kind.SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
    Kind.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
    Kind.BIDI_STREAM: grpc.stream_stream_rpc_method_handler,
}
