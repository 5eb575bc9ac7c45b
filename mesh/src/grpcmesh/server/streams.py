"""Streams that are being served: parses, serializes and counts their messages, and ends them in a drain."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import grpc

from grpcmesh.call import ServerCall
from grpcmesh.errors import MeshError, Unavailable
from grpcmesh.server.context import Context, Metadata

Parse = Callable[[bytes], Any]
Serialize = Callable[[Any], bytes]

#: Seconds without a request after which a caller has paused, and the longest that one is heard out.
_LULL, _HEARD_OUT = 0.05, 0.5


def leaving() -> MeshError:
    """Return the error with which a drain ends a stream."""
    return Unavailable("this replica is leaving; resume at another")


def left() -> MeshError:
    """Return the error with which a server that stops ends a call that has outlasted the grace."""
    return Unavailable("this replica has stopped before it had answered")


class Running:
    """The calls that are being served, so that they can be ended early."""

    def __init__(self) -> None:
        self.streams: set[Stream] = set()
        #: All calls, by the task that serves them.
        self.calls: dict[asyncio.Task[Any] | None, ServerCall] = {}

    def cut(self) -> None:
        """End every call with UNAVAILABLE, once. Its servicer gets `CancelledError`."""
        for task, call in tuple(self.calls.items()):
            if task is not None and not call.cut and not call.over:
                call.cut = True
                task.cancel()


class Stream(Context):
    """One stream, which is the servicer's context. It reads and writes messages, and delegates the rest.

    `interrupt` ends it at a safe point: never during a write. If requests are streamed, too, it ends only
    while the servicer waits for a request, so that each request taken is answered.
    """

    __slots__ = ("_end_with", "_parse", "_serialize", "_task", "ending", "heard", "reading", "writing")

    def __init__(self, call: ServerCall, context: Any, parse: Parse, serialize: Serialize) -> None:
        super().__init__(call, context)
        self._parse, self._serialize = parse, serialize
        self._task = asyncio.current_task()
        self.reading = self.writing = self.ending = False
        #: Whether the caller has sent all that it will.
        self.heard = not call.method.kind.request_streaming
        self._end_with: Callable[[], MeshError] = leaving

    async def read(self) -> Any:
        """Return the next request, or `grpc.aio.EOF`."""
        raw = await self._reading(self._context.read)
        if raw is grpc.aio.EOF:
            self.heard = True
            return raw
        return self.take(raw)

    async def write(self, message: Any) -> None:
        """Send a response."""
        data = self._serialize(message)
        self.writing = True
        try:
            await self._context.write(data)
        finally:
            self.writing = False
        self.call.sent += 1
        self.call.sent_bytes += len(data)
        if self.ending:
            raise self.leaving()

    async def requests(self, raw: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        """Yield the parsed requests."""
        following = raw.__aiter__().__anext__
        while True:
            try:
                data = await self._reading(following)
            except StopAsyncIteration:
                self.heard = True
                return
            yield self.take(data)

    def interrupt(self, error: Callable[[], MeshError] = leaving) -> None:
        """End the stream with an error at its next safe point, or now if it is at one.

        Args:
            error: Makes the error for the caller; by default, one that says to resume at another replica.
        """
        if self.ending or self._task is None:
            return
        self.ending, self._end_with = True, error
        if not self.writing and (self.reading or not self.call.method.kind.request_streaming):
            self._task.cancel()

    def leaving(self) -> MeshError:
        """Return the error of an interrupted stream, and take back the cancellation of its task."""
        if self._task is not None and self._task.cancelling():
            self._task.uncancel()
        return self._end_with()

    async def hear_out(self) -> None:
        """Read and drop the requests that the caller is sending now, before its call is ended.

        If a send of a grpc.aio client fails because the call is over, the client sees INTERNAL in place of
        the call's own status, even if that is OK.
        """
        if self.heard:
            return
        # Errors of reading are ignored, because the caller gets the status of its call next.
        with contextlib.suppress(TimeoutError, grpc.aio.BaseError, grpc.aio.UsageError):
            async with asyncio.timeout(_HEARD_OUT):
                while await asyncio.wait_for(self._context.read(), _LULL) is not grpc.aio.EOF:
                    pass

    async def abort(
        self, code: grpc.StatusCode, details: str = "", trailing_metadata: Metadata = ()
    ) -> NoReturn:
        """Abort the call as `Context.abort` does, after `hear_out`."""
        if not self._context.done():
            await self.hear_out()
        await super().abort(code, details, trailing_metadata)

    async def _reading(self, read: Callable[[], Any]) -> Any:
        if self.ending:
            raise self.leaving()
        self.reading = True
        try:
            return await read()
        finally:
            self.reading = False

    def take(self, data: bytes) -> Any:
        """Parse and count a request."""
        message = self._parse(data)
        self.call.received += 1
        self.call.received_bytes += len(data)
        return message
