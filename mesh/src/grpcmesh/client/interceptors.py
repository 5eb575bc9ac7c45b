"""Runs client interceptors of grpc.aio on a mesh channel: once per logical call, above retry and balancing.

This module does what grpc.aio does for its own channels. An interceptor costs a task and several coroutines
per call (7 to 20 % of a call, measured); a `ClientLayer` costs a plain function call.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import EOF, AioRpcError, ClientCallDetails, Metadata, UsageError

from grpcmesh.client.dropped import on_loop
from grpcmesh.client.failures import error_of
from grpcmesh.client.flight import Flight
from grpcmesh.client.machines import Status
from grpcmesh.client.metadata import InvalidMetadata, pairs
from grpcmesh.hooks import let_through

if TYPE_CHECKING:
    from grpcmesh.client.core import Core

_LOCAL = "Locally cancelled by application!"
_MIXED = "The iterator and read/write APIs may not be mixed on a single RPC."
_FINISHED = "RPC already finished."

_HOOKS = {
    grpc.aio.UnaryUnaryClientInterceptor: "intercept_unary_unary",
    grpc.aio.UnaryStreamClientInterceptor: "intercept_unary_stream",
    grpc.aio.StreamUnaryClientInterceptor: "intercept_stream_unary",
    grpc.aio.StreamStreamClientInterceptor: "intercept_stream_stream",
}


def hooks(interceptors: Sequence[grpc.aio.ClientInterceptor], kind: type[Any]) -> list[Callable[..., Any]]:
    """Return the hooks of the interceptors of one kind.

    Args:
        kind: The class of that kind, such as `grpc.aio.UnaryUnaryClientInterceptor`.

    Raises:
        ValueError: One of the interceptors is not a client interceptor of grpc.aio.
    """
    for interceptor in interceptors:
        if not isinstance(interceptor, tuple(_HOOKS)):
            raise ValueError(f"{interceptor!r} is not a client interceptor of grpc.aio")
    return [
        getattr(interceptor, _HOOKS[kind]) for interceptor in interceptors if isinstance(interceptor, kind)
    ]


def details(
    path: str,
    timeout: float | None,
    metadata: Any,
    credentials: grpc.CallCredentials | None,
    wait_for_ready: bool | None,
) -> ClientCallDetails:
    """Return the call details that interceptors see. As in grpc.aio, the method is bytes."""
    method: Any = path.encode()  # what it is in grpc.aio, whatever the type says
    return ClientCallDetails(method, timeout, metadata, credentials, wait_for_ready)


class Chain:
    """The interceptors of one call, and the function that begins the call below them.

    Args:
        request: One message, or an iterator, or None if the caller writes requests.
        begin: Begins the actual call.
        core: Core of the channel. It cancels the calls that still run when the channel is closed.
    """

    def __init__(
        self,
        interceptors: Sequence[Callable[..., Any]],
        details: ClientCallDetails,
        request: Any,
        begin: Callable[[ClientCallDetails, Any], Flight],
        core: "Core",
    ) -> None:
        self._interceptors, self.details, self.request, self._begin = interceptors, details, request, begin
        self._core = core

    def start(self, make: Callable[[Flight], Any], request: Any) -> asyncio.Task[Any]:
        """Run the interceptors in a task. It returns the call object, or what an interceptor answered."""
        task = asyncio.get_running_loop().create_task(self._run(make, request))
        self._core.chains[task] = None
        task.add_done_callback(self._ended)
        return task

    async def _run(self, make: Callable[[Flight], Any], request: Any) -> Any:
        asked = self.details
        try:
            metadata = _metadata(asked.metadata)
        except InvalidMetadata as e:
            raise error_of(Status(grpc.StatusCode.INTERNAL, str(e), final=True)) from e
        seen = ClientCallDetails(
            asked.method, asked.timeout, metadata, asked.credentials, asked.wait_for_ready
        )
        return await self._step(0, make, seen, request)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        # Retrieves the error, which asyncio would log otherwise if no task awaits the call.
        if not task.cancelled():
            task.exception()
        self._core.chains.pop(task, None)
        self._core.ended()

    async def _step(self, index: int, make: Callable[[Flight], Any], details: Any, request: Any) -> Any:
        if index == len(self._interceptors):
            return make(self._begin(details, request))
        continuation = partial(self._step, index + 1, make)
        return await self._interceptors[index](continuation, details, request)


class Intercepted:
    """A call whose interceptors run in a task. Its methods wait for the actual call and delegate to it.

    Args:
        make: Makes the call object from the call that the interceptors begin.
    """

    _written: "_Written | None" = None

    def __init__(self, chain: Chain, make: Callable[[Flight], Any]) -> None:
        request = self._request(chain.request)
        self._path = chain.details.method
        self._task = chain.start(make, request)

    def __del__(self) -> None:
        task: asyncio.Task[Any] | None = getattr(self, "_task", None)
        if task is not None:
            on_loop(task.get_loop(), _cancel, task)

    def cancel(self) -> bool:
        return _cancel(self._task)

    def cancelled(self) -> bool:
        if not self._task.done():
            return False
        if self._task.cancelled():
            return True
        if (error := self._task.exception()) is not None:
            return isinstance(error, AioRpcError) and error.code() is grpc.StatusCode.CANCELLED
        call = self._task.result()
        return bool(_is_call(call) and call.cancelled())

    def done(self) -> bool:
        call = self._call()
        return self._task.done() and (call is None or not _is_call(call) or call.done())

    def time_remaining(self) -> float | None:
        call = self._call()
        return call.time_remaining() if call is not None and _is_call(call) else None

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self._task.done():
            self._add_done_callback(callback)
        else:
            self._task.add_done_callback(lambda task: self._add_done_callback(callback))

    async def initial_metadata(self) -> Any:
        return await self._ask(lambda call: call.initial_metadata(), lambda e: e.initial_metadata(), None)

    async def trailing_metadata(self) -> Any:
        return await self._ask(lambda call: call.trailing_metadata(), lambda e: e.trailing_metadata(), None)

    async def code(self) -> Any:
        return await self._ask(lambda call: call.code(), lambda e: e.code(), grpc.StatusCode.CANCELLED)

    async def details(self) -> Any:
        return await self._ask(lambda call: call.details(), lambda e: e.details(), _LOCAL)

    async def debug_error_string(self) -> Any:
        return await self._ask(lambda call: call.debug_error_string(), lambda e: e.debug_error_string(), "")

    async def wait_for_connection(self) -> None:
        call = await self._task
        if _is_call(call):
            await call.wait_for_connection()

    def __repr__(self) -> str:
        return f"<intercepted {self._path!r} {self._call() or 'in its interceptors'}>"

    def _request(self, request: Any) -> Any:
        return request

    def _call(self) -> Any:
        """Return the actual call or an interceptor's answer; None while, or if, there is neither."""
        return _answer(self._task)

    def _add_done_callback(self, callback: Callable[[Any], None]) -> None:
        call = self._call()
        if call is None or not _is_call(call):
            callback(self)
        else:
            call.add_done_callback(lambda _: callback(self))

    async def _ask(
        self, ask: Callable[[Any], Awaitable[Any]], of_error: Callable[[AioRpcError], Any], cancelled: Any
    ) -> Any:
        try:
            call = await asyncio.shield(self._task)
        except AioRpcError as e:
            return of_error(e)
        except asyncio.CancelledError:
            if self._task.cancelled():
                return cancelled
            raise
        return await ask(call) if _is_call(call) else await ask(_Answered())


class _UnaryResponse(Intercepted):
    def __await__(self) -> Generator[Any, None, Any]:
        call = yield from self._task.__await__()
        return (yield from call.__await__()) if _is_call(call) else call


class _StreamResponse(Intercepted):
    _responses: AsyncIterator[Any] | None = None

    def __aiter__(self) -> AsyncIterator[Any]:
        if self._responses is None:
            self._responses = self._iterate()
        return self._responses

    async def read(self) -> Any:
        return await anext(aiter(self), EOF)

    async def _iterate(self) -> AsyncIterator[Any]:
        async for response in await self._task:
            yield response


class _StreamRequest(Intercepted):
    def _request(self, request: Any) -> Any:
        if request is not None:
            return request
        self._written = _Written()
        return self._written

    async def write(self, request: Any) -> None:
        await self._put(request)
        if self.done():
            raise asyncio.InvalidStateError(_FINISHED)

    async def done_writing(self) -> None:
        """Tell the server that there are no more requests. Idempotent."""
        if self._written is None or not self.done():
            await self._put(EOF)
        elif not self._task.cancelled():
            self._task.result()  # raises what the interceptors raised

    async def _put(self, request: Any) -> None:
        """Pass a request to the interceptors' iterator, unless the call ends first."""
        if self._written is None:
            raise UsageError(_MIXED)
        try:
            call = await asyncio.shield(self._task)
        except (AioRpcError, asyncio.CancelledError) as e:
            if not self._task.done():
                raise
            raise asyncio.InvalidStateError(_FINISHED) from e
        if self.done():
            raise asyncio.InvalidStateError(_FINISHED)
        put = asyncio.ensure_future(self._written.put(request))
        end = asyncio.ensure_future(call.code())
        try:
            await asyncio.wait((put, end), return_when=asyncio.FIRST_COMPLETED)
            if put.done():
                put.result()
        finally:
            put.cancel()
            end.cancel()


class UnaryUnary(_UnaryResponse, grpc.aio.UnaryUnaryCall[Any, Any]):
    """An intercepted call with one request and one response."""


class UnaryStream(_StreamResponse, grpc.aio.UnaryStreamCall[Any, Any]):
    """An intercepted call with one request and a stream of responses."""


class StreamUnary(_StreamRequest, _UnaryResponse, grpc.aio.StreamUnaryCall[Any, Any]):
    """An intercepted call with a stream of requests and one response."""


class StreamStream(_StreamRequest, _StreamResponse, grpc.aio.StreamStreamCall[Any, Any]):
    """An intercepted call with a stream of requests and a stream of responses."""


class _Written:
    """Turns the requests that a caller writes into the iterator that interceptors see. Holds one request."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)
        self._closed = False

    async def put(self, request: Any) -> None:
        """Wait until there is room, and add a request. `EOF` ends the requests."""
        if self._closed:
            if request is EOF:
                return
            raise asyncio.InvalidStateError('RPC is half closed after calling "done_writing".')
        self._closed = request is EOF
        await self._queue.put(request)

    def __aiter__(self) -> "_Written":
        return self

    async def __anext__(self) -> Any:
        request = await self._queue.get()
        if request is EOF:
            raise StopAsyncIteration
        return request


class _Answered:
    """The metadata and status of a call that an interceptor answered itself."""

    async def initial_metadata(self) -> Metadata:
        return Metadata()

    trailing_metadata = initial_metadata

    async def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    async def details(self) -> str:
        return ""

    debug_error_string = details


def _is_call(answer: Any) -> bool:
    return isinstance(answer, grpc.aio.Call)


def _answer(task: asyncio.Task[Any]) -> Any:
    """Return what the interceptors have returned; None while they run, and where they raised."""
    if not task.done() or task.cancelled() or task.exception() is not None:
        return None
    return task.result()


def _cancel(task: asyncio.Task[Any]) -> bool:
    """Cancel the interceptors while they run, else the call that they have begun."""
    if not task.done():
        return task.cancel()
    call = _answer(task)
    return bool(_is_call(call) and call.cancel())


def _metadata(metadata: Any) -> Metadata:
    """Return what interceptors see of a call's metadata. Raises InvalidMetadata."""
    if isinstance(metadata, Metadata):
        return metadata
    try:
        return Metadata(*pairs(metadata or ()))
    except InvalidMetadata:
        raise
    except BaseException as e:  # a key that cannot be hashed, a value that is neither true nor false
        let_through(e)
        raise InvalidMetadata(f"metadata was invalid: reading it raised {type(e).__name__}") from e
