"""Fakes of gRPC's native channels, as the client's driver sees them, under a test's control.

The order of events is that of grpc.aio. A status reaches the done callbacks before the response is available.
A server's status arrives only after its messages have been read. A cancelled native call raises
`CancelledError` in its readers.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from typing import Any

import grpc
from grpc.aio import EOF, AioRpcError, Metadata

OK, UNAVAILABLE, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
DEADLINE_EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
Connectivity = grpc.ChannelConnectivity
NO_CONNECTION = "failed to connect to all addresses; last error: refused"
#: Metadata by which the test knows which logical call a native one belongs to.
TAG = "tag"
#: Seconds between a status and its response if responses are late.
LATE = 0.01


class FakeNative:
    """A native call of any kind. Responses are bytes that begin with `number`, which no other call has."""

    def __init__(
        self, channel: "FakeChannel", path: str, request: Any, timeout: float | None, metadata: Any
    ) -> None:
        self.channel, self.path = channel, path
        #: Tag of the logical call. Empty for a call by which the mesh asks why a connection fails.
        self.tag: str = dict(iter(metadata or ())).get(TAG, "")
        self.loop = asyncio.get_running_loop()
        self.number = channel.wire.register(self)
        self.began = self.loop.time()
        self.deadline = None if timeout is None else self.began + timeout
        self.ended: float | None = None
        #: Requests and messages, in order, as they were sent.
        self.requests: list[bytes] = []
        self.sent: list[bytes] = []
        self.status: tuple[grpc.StatusCode, str, Metadata] | None = None
        #: Whether this side has cancelled it, and whether its server has sent a status.
        self.was_cancelled = self.said = False
        #: The status that the server has sent while some of its messages have not been read.
        self.unheard: tuple[grpc.StatusCode, str, Metadata] | None = None
        self._callbacks: list[Callable[[Any], None]] = []
        self._response: asyncio.Future[Any] = self.loop.create_future()
        self._head: asyncio.Future[None] = self.loop.create_future()
        self._messages: deque[bytes] = deque()
        self._readers = 0
        self._news = asyncio.Event()
        self._timer = self.loop.call_later(timeout, self._expire) if timeout is not None else None
        self._poller = self.loop.create_task(self._poll(request)) if not isinstance(request, bytes) else None

    @property
    def responded(self) -> bool:
        """Return whether the response, which follows the status, has arrived too."""
        return self._response.done()

    @property
    def seen(self) -> bool:
        """Return whether a server can have seen it."""
        return self.number not in self.channel.wire.unsent

    # -- the test --------------------------------------------------------------------------------

    def answer(self, code: grpc.StatusCode, details: str = "", trailing: Iterable[Any] = ()) -> None:
        """Let the server end it. With OK, a unary call gets its response."""
        if self.status is None and self.unheard is None:
            self.unheard = (code, details, Metadata(*trailing))
            self._hear()

    def send(self) -> None:
        """Deliver one message of a response stream."""
        if self.status is None and self.unheard is None:
            self.head()
            self.sent.append(b"%d:%d" % (self.number, len(self.sent)))
            self._messages.append(self.sent[-1])
            self._tell()

    def head(self) -> None:
        """Deliver the initial metadata."""
        if not self._head.done():
            self._head.set_result(None)

    def end(self, code: grpc.StatusCode, details: str) -> None:
        """End it without a status from a server."""
        if self.status is None:
            self._end((code, details, Metadata()))

    # -- grpc.aio --------------------------------------------------------------------------------

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        if self.status is not None:
            callback(self)
        else:
            self._callbacks.append(callback)

    def done(self) -> bool:
        return self.status is not None

    def cancel(self) -> bool:
        if self.status is not None:
            return False
        self.was_cancelled = True
        self.end(CANCELLED, "Locally cancelled by application!")
        return True

    async def code(self) -> grpc.StatusCode:
        return (await self._status())[0]

    async def details(self) -> str:
        return (await self._status())[1]

    async def trailing_metadata(self) -> Metadata:
        return (await self._status())[2]

    async def debug_error_string(self) -> str:
        return ""

    async def initial_metadata(self) -> Metadata:
        if not self._head.done():
            await asyncio.shield(self._head)
        return Metadata()

    async def wait_for_connection(self) -> None:
        await self.initial_metadata()
        if self.status is not None:
            self._raise()

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._response.done():
            yield from asyncio.shield(self._response)
        self._raise()
        return self._response.result()

    async def read(self) -> Any:
        self._readers += 1
        try:
            while not self._messages and self.status is None:
                await self._news.wait()
        finally:
            self._readers -= 1
        if self._messages and not self.was_cancelled:
            message = self._messages.popleft()
            self._hear()
            return message
        self._raise()
        return EOF

    async def write(self, request: bytes) -> None:
        if self.done():
            raise asyncio.InvalidStateError("RPC already finished.")
        self.requests.append(request)
        while self.channel.wire.stalled and self.status is None:
            await self._news.wait()
        if self.done():
            self._raise()

    async def done_writing(self) -> None: ...

    # -- inside ----------------------------------------------------------------------------------

    def _hear(self) -> None:
        if self.unheard is not None and self.status is None and len(self._messages) <= self._readers:
            self.said = True
            self._end(self.unheard)

    def _end(self, status: tuple[grpc.StatusCode, str, Metadata]) -> None:
        self.status, self.ended = status, self.loop.time()
        self.channel.natives.pop(self, None)
        for pending in (self._timer, self._poller):
            if pending is not None:
                pending.cancel()
        for callback in self._callbacks:
            callback(self)
        self.head()
        self._tell()
        if self.channel.wire.late and status[0] is OK:
            self.loop.call_later(LATE, self._respond)
        else:
            self._respond()

    def _respond(self) -> None:
        self._response.set_result(b"%d:0" % self.number)

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()

    async def _status(self) -> tuple[grpc.StatusCode, str, Metadata]:
        while self.status is None:
            await self._news.wait()
        return self.status

    def _raise(self) -> None:
        assert self.status is not None
        code, details, trailing = self.status
        if self.was_cancelled:
            raise asyncio.CancelledError
        if code is not OK:
            raise AioRpcError(code, Metadata(), trailing, details, "")

    def _expire(self) -> None:
        if not self.channel.wire.forgetful:
            self.end(DEADLINE_EXCEEDED, "Deadline Exceeded")

    async def _poll(self, requests: Any) -> None:
        if isinstance(requests, AsyncIterable):
            async for request in requests:
                self.requests.append(request)
                await asyncio.sleep(0)
        elif requests is not None:
            for request in requests:
                self.requests.append(request)
                await asyncio.sleep(0)


class FakeChannel:
    """A native channel to one address. It connects when the test says so."""

    def __init__(self, wire: "Wire", uri: str) -> None:
        self.wire, self.address = wire, uri.partition(":")[2]
        self.state = Connectivity.TRANSIENT_FAILURE
        if self.address not in wire.down:
            self.state = Connectivity.CONNECTING if wire.slow else Connectivity.READY
        self._changed = asyncio.Event()
        self.natives: dict[FakeNative, None] = {}
        wire.channels.append(self)

    @property
    def ready(self) -> bool:
        return self.state is Connectivity.READY

    @property
    def failed(self) -> bool:
        return self.state is Connectivity.TRANSIENT_FAILURE

    @property
    def closed(self) -> bool:
        return self.state is Connectivity.SHUTDOWN

    def turn(self, state: grpc.ChannelConnectivity) -> None:
        """Change the connection's state. If it breaks, its calls end with it."""
        if self.state in (state, Connectivity.SHUTDOWN):
            return
        self.state = state
        self._changed.set()
        self._changed.clear()
        if state is not Connectivity.READY:
            for native in tuple(self.natives):
                native.end(UNAVAILABLE, "Socket closed")

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        return self.state

    async def wait_for_state_change(self, last: grpc.ChannelConnectivity) -> None:
        # C-core tells a watcher of every change, even of one that is past by now.
        if self.state is last:
            await self._changed.wait()

    async def close(self, grace: float | None = None) -> None:
        for native in tuple(self.natives):
            native.cancel()
        self.turn(Connectivity.SHUTDOWN)

    def unary_unary(self, path: str) -> Any:
        def call(
            request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
        ) -> FakeNative:
            if self.closed:
                raise grpc.aio.UsageError("Channel is closed.")
            native = FakeNative(self, path, request, timeout, metadata)
            if not self.ready:
                self.wire.unsent.add(native.number)
                native.loop.call_soon(native.end, UNAVAILABLE, NO_CONNECTION)
            return native

        return call

    unary_stream = stream_unary = stream_stream = unary_unary


class Wire:
    """All native channels that were made, and the addresses that are down."""

    def __init__(self) -> None:
        self.channels: list[FakeChannel] = []
        self.down: set[str] = set()
        #: The native calls, by number.
        self.natives: list[FakeNative] = []
        self._by_tag: dict[str, list[FakeNative]] = {}
        #: Numbers of the native calls that no server has seen.
        self.unsent: set[int] = set()
        #: Whether native calls forget their deadlines, responses come later than their status, writes wait,
        #: and channels connect only when they are told to.
        self.forgetful = self.late = self.stalled = self.slow = False

    def open(self, uri: str, *arguments: Any) -> FakeChannel:
        """Open a fake channel. Replaces `grpc.aio.insecure_channel`."""
        return FakeChannel(self, uri)

    def register(self, native: FakeNative) -> int:
        if not native.tag:
            return -1
        native.channel.natives[native] = None
        self._by_tag.setdefault(native.tag, []).append(native)
        self.natives.append(native)
        return len(self.natives) - 1

    def live(self) -> list[FakeNative]:
        """Return the native calls that have not ended, oldest first."""
        return [native for native in self.natives if native.status is None]

    def of(self, tag: str) -> list[FakeNative]:
        """Return the native calls of one logical call, oldest first."""
        return self._by_tag.get(tag, [])

    def connect(self, address: str) -> None:
        """Start the peer: every channel to it connects."""
        self.down.discard(address)
        for channel in self.channels:
            if channel.address == address:
                channel.turn(Connectivity.READY)

    def cut(self, address: str) -> None:
        """Stop the peer: every channel to it loses its connection."""
        self.down.add(address)
        for channel in self.channels:
            if channel.address == address:
                channel.turn(Connectivity.TRANSIENT_FAILURE)

    def blink(self, address: str) -> None:
        """Stop and start the peer at once, before any other code can run."""
        self.cut(address)
        self.connect(address)
