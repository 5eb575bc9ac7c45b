"""The one place that knows the four kinds of call: wraps a servicer's handler in a stack of layers.

The wrapper also parses requests and serializes responses. grpc would do that just as well, but sends
its failures as UNKNOWN with the text of the exception.
"""

import asyncio
import inspect
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from grpcmesh import status
from grpcmesh.call import Kind, Method, ServerCall, ServerLayer, current_call
from grpcmesh.errors import DeadlineExceeded, FieldViolation, Injected, InvalidArgument
from grpcmesh.server.outcome import Unimplemented, code_of, translate
from grpcmesh.server.streams import Parse, Serialize, Stream

Hook = Callable[[ServerCall], None]

#: Trailing metadata key: which replica answered.
REPLICA_KEY = "mesh-replica"

_NO_HOOKS: tuple[Hook, ...] = ()

_log = logging.getLogger("mesh.server")


class Stack:
    """Layers as calls run through them: bound hooks, without those that do nothing.

    Args:
        layers: Outermost first.
        replica: This process; told in the trailing metadata of each call.
    """

    def __init__(self, layers: Sequence[ServerLayer], replica: str = "") -> None:
        self._replica: tuple[tuple[str, str | bytes], ...] = ((REPLICA_KEY, replica),) if replica else ()
        self._trailing: tuple[tuple[str, str | bytes], ...] = self._replica
        ends: tuple[Hook, ...] = ()
        starts: list[tuple[Hook, tuple[Hook, ...]]] = []
        for layer in layers:
            if type(layer).on_start is not ServerLayer.on_start:
                starts.append((layer.on_start, ends))
            if type(layer).on_end is not ServerLayer.on_end:
                ends = (layer.on_end, *ends)
        #: Each start hook with the end hooks to run where it refuses the call.
        self.starts = tuple(starts)
        #: Innermost first.
        self.ends = ends

    def tell(self, *metadata: tuple[str, str | bytes]) -> None:
        """Calls that begin from now on carry this, too, until the next `tell`."""
        self._trailing = (*self._replica, *metadata)

    def begin(self, method: Method, context: Any) -> ServerCall:
        """The call, before any layer has seen it."""
        started = time.monotonic()
        call = ServerCall(method, context, started, dict(context.invocation_metadata()))
        remaining = context.time_remaining()
        if remaining is not None:
            call.deadline = started + remaining
        current_call.set(call)  # each call has a task of its own, so nothing needs restoring
        call.trailing = self._trailing
        context.set_trailing_metadata(call.trailing)
        return call

    def succeed(self, call: ServerCall) -> None:
        """After the servicer returned, be it with `context.set_code`."""
        context: Any = call.context
        trailing = context.trailing_metadata()
        if trailing is not call.trailing:
            context.set_trailing_metadata((*trailing, *call.trailing))
        code = context.code()
        if code:
            call.code = code
        self._finish(call, self.ends)

    async def fail(
        self, call: ServerCall, raised: BaseException, ends: tuple[Hook, ...], stream: Stream | None = None
    ) -> None:
        """After anything was raised: runs the end hooks, tells the caller, raises what grpc expects."""
        error = call.error = translate(raised, stream)
        call.code = code_of(call, error)
        self._finish(call, ends)
        if isinstance(error, asyncio.CancelledError | grpc.aio.BaseError):
            raise error  # told already, or nobody is left to tell
        if call.code is grpc.StatusCode.INTERNAL and not isinstance(error, Injected):
            _log.error("unexpected error in %s", call.method.full_name, exc_info=error)
        if stream is not None:
            await stream.hear_out()
        code, message, trailing = status.to_wire(error)
        if isinstance(error, Unimplemented):
            code, message = call.code, error.message
        await call.context.abort(code, message, (*trailing, *call.trailing))

    def _finish(self, call: ServerCall, ends: tuple[Hook, ...]) -> None:
        call.ended = time.monotonic()
        for hook in ends:
            try:
                hook(call)
            except Exception:  # the call is over: its outcome stands, and the other layers hear of it
                _log.exception("a layer failed at the end of %s", call.method.full_name)


def wrap(
    handler: "grpc.RpcMethodHandler[Any, Any]", method: Method, stack: Stack, streams: set[Stream]
) -> "grpc.RpcMethodHandler[Any, Any]":
    """The same method, run through the stack once.

    Args:
        handler: As generated code registers it; its behaviour is a coroutine function or an async
            generator function.
        method: Which one, of which kind.
        stack: Its layers.
        streams: Where response streams are entered while they run, for a drain to end them.

    Raises:
        TypeError: the behaviour is neither, so it would block the event loop.
    """
    behavior = _asynchronous(handler, method)
    parse, serialize = _parser(handler), handler.response_serializer or _identity
    if method.kind.response_streaming:
        run = _streaming(behavior, parse, serialize, method, stack, streams)
    else:
        run = _unary(behavior, parse, serialize, method, stack)
    return _CONSTRUCTORS[method.kind](run)


def kind_of(handler: "grpc.RpcMethodHandler[Any, Any]") -> Kind:
    """Which of the four kinds a handler is for."""
    if handler.request_streaming:
        return Kind.BIDI_STREAM if handler.response_streaming else Kind.CLIENT_STREAM
    return Kind.SERVER_STREAM if handler.response_streaming else Kind.UNARY


def _unary(behavior: Any, parse: Parse, serialize: Serialize, method: Method, stack: Stack) -> Any:
    """Both kinds with one response."""
    request_streaming = method.kind.request_streaming

    async def run(raw: Any, context: Any) -> Any:
        call, ends = stack.begin(method, context), _NO_HOOKS
        stream = Stream(call, context, parse, serialize) if request_streaming else None
        try:
            for hook, ends in stack.starts:  # noqa: B007 - `ends` is read where a hook raises
                hook(call)
            ends = stack.ends
            _check_deadline(call)
            if call.hold is not None:
                await call.hold()
            if stream is not None:
                response = serialize(await behavior(stream.requests(raw), stream))
            else:
                request = parse(raw)
                call.received = 1
                response = serialize(await behavior(request, context))
            call.sent = 1
        except BaseException as e:
            await stack.fail(call, e, ends, stream)
            raise
        else:
            stack.succeed(call)
        finally:
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
        call, ends = stack.begin(method, context), _NO_HOOKS
        stream = Stream(call, context, parse, serialize)
        streams.add(stream)
        try:
            for hook, ends in stack.starts:  # noqa: B007 - as above
                hook(call)
            ends = stack.ends
            _check_deadline(call)
            if call.hold is not None:
                await call.hold()
            request = stream.requests(raw) if request_streaming else stream.take(raw)
            if generates:
                await _forward(behavior(request, stream), stream)
            else:
                await behavior(request, stream)
        except BaseException as e:
            await stack.fail(call, e, ends, stream)
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


def _check_deadline(call: ServerCall) -> None:
    if call.deadline is not None and call.deadline <= call.started:
        raise DeadlineExceeded("the deadline had passed before the call was started")


def _parser(handler: "grpc.RpcMethodHandler[Any, Any]") -> Parse:
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


def _asynchronous(handler: "grpc.RpcMethodHandler[Any, Any]", method: Method) -> Any:
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


_CONSTRUCTORS: dict[Kind, Callable[[Any], "grpc.RpcMethodHandler[Any, Any]"]] = {
    Kind.UNARY: grpc.unary_unary_rpc_method_handler,
    Kind.SERVER_STREAM: grpc.unary_stream_rpc_method_handler,
    Kind.CLIENT_STREAM: grpc.stream_unary_rpc_method_handler,
    Kind.BIDI_STREAM: grpc.stream_stream_rpc_method_handler,
}
