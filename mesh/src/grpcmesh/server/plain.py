"""Servicers whose methods are plain functions: each call runs in a thread of a bounded pool."""

import asyncio
import concurrent.futures
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, NoReturn

import grpc

from grpcmesh.call import Method
from grpcmesh.server.context import Metadata, checked, encodable
from grpcmesh.server.threads import Threads


class CallEndedError(grpc.RpcError):
    """Raised in the thread of a servicer whose call has ended: cancelled, past its deadline, or aborted."""


class AbortedError(Exception):
    """Raised by `abort` in the thread of a servicer, to leave it. Nothing is to be done about it."""


class PlainContext:
    """The context of a servicer in a thread: a `grpc.ServicerContext`, and what else grpc's own offers.

    Args:
        context: The context of the call, which belongs to the event loop.
        loop: The event loop.
    """

    def __init__(self, context: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._context, self._loop = context, loop
        self._task = asyncio.current_task()
        remaining = context.time_remaining()
        self._deadline = None if remaining is None else time.monotonic() + remaining
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], None]] = []
        #: What the thread waits for.
        self._waiting: set[concurrent.futures.Future[Any]] = set()
        self._active = True
        #: The arguments of `abort`, once it has been called.
        self.aborted: tuple[grpc.StatusCode, str, Any] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def is_active(self) -> bool:
        """Return whether somebody waits for the answer: the call is not cancelled, and has time left."""
        return self._active

    def time_remaining(self) -> float | None:
        """Return the seconds until the deadline of the call; None without one."""
        return None if self._deadline is None else max(0.0, self._deadline - time.monotonic())

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call `callback` in another thread when the call has ended. Return False if it has ended."""
        with self._lock:
            if self._active:
                self._callbacks.append(callback)
            return self._active

    def cancel(self) -> bool:
        """Cancel the call. Return False if it has ended."""
        if self._active and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
        return self._active

    def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()) -> NoReturn:
        """End the call with this status. Raises ValueError for OK, and for metadata that cannot be sent."""
        if code is grpc.StatusCode.OK:
            raise ValueError("a call cannot be aborted with OK")
        self.aborted = code, encodable(details), checked(trailing_metadata)
        raise AbortedError(f"aborted with {code.name}")

    def abort_with_status(self, status: grpc.Status) -> NoReturn:
        """Behave as `abort`."""
        self.abort(status.code, status.details, status.trailing_metadata or ())

    def send_initial_metadata(self, initial_metadata: Metadata) -> None:
        """Behave as grpc's method. Raises ValueError for metadata that cannot be sent."""
        self.wait(self._context.send_initial_metadata(initial_metadata))

    def wait(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine on the event loop and return its result. Raises CallEndedError after the end."""
        if not self._active or self.aborted is not None:
            coroutine.close()
            raise CallEndedError("the call has ended")
        future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        with self._lock:
            self._waiting.add(future)
            active = self.is_active()
        if not active:  # it has ended meanwhile
            future.cancel()
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise CallEndedError("the call has ended") from None
        finally:
            with self._lock:
                self._waiting.discard(future)

    def end(self) -> list[Callable[[], None]]:
        """Note that the call has ended, and let its thread go on. Return the callbacks to run."""
        with self._lock:
            self._active = False
            callbacks, self._callbacks = self._callbacks, []
            waiting = tuple(self._waiting)
        for future in waiting:
            future.cancel()
        return callbacks


class Requests(Iterator[Any]):
    """The requests of a stream, for a servicer in a thread."""

    def __init__(self, requests: AsyncIterator[Any], context: PlainContext) -> None:
        self._requests, self._context = requests, context

    def __next__(self) -> Any:
        request = self._context.wait(self._next())
        if request is _END:
            raise StopIteration
        return request

    async def _next(self) -> Any:
        return await anext(self._requests, _END)


_END = object()


def plain(behavior: Callable[..., Any], method: Method, threads: Threads) -> Any:
    """Return a coroutine function that runs a plain function in a thread.

    Args:
        behavior: Takes the request, or an iterator over the requests, and a context. Returns the response, or
            an iterable of the responses.
    """

    async def run(request: Any, context: Any) -> Any:
        loop = asyncio.get_running_loop()
        made = PlainContext(context, loop)
        given = Requests(request, made) if method.kind.request_streaming else request
        work = _stream if method.kind.response_streaming else _respond
        try:
            response = await threads.run(work, behavior, given, made)
        finally:
            callbacks = made.end()
            if callbacks:
                threading.Thread(target=_call, args=(callbacks,), daemon=True).start()
        if made.aborted is not None:
            await context.abort(*made.aborted)
        return response

    return run


def _respond(behavior: Callable[..., Any], request: Any, context: PlainContext) -> Any:
    try:
        return behavior(request, context)
    except Exception:
        if context.aborted is None:
            raise
        return None


def _stream(behavior: Callable[..., Any], request: Any, context: PlainContext) -> None:
    responses = _respond(behavior, request, context)
    if context.aborted is not None:
        return
    try:
        for response in responses:
            context.wait(context.write(response))
    except Exception:
        if context.aborted is None:
            raise
    finally:
        close = getattr(responses, "close", None)
        if close is not None:
            close()  # leaving the loop early does not run the generator's own `finally`


def _call(callbacks: list[Callable[[], None]]) -> None:
    for callback in callbacks:
        callback()
