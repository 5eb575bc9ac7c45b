"""gRPC's native channels without a wire: what the client's driver sees of them, under a test's control.

The order of events is grpc.aio's: a status reaches the done callbacks first, and then the response is there;
a native call that is cancelled raises `CancelledError` in whoever reads it.
"""

import asyncio
from collections.abc import AsyncIterable, Callable, Generator, Iterable
from typing import Any

import grpc
from grpc.aio import EOF, AioRpcError, Metadata

OK, UNAVAILABLE, CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED
Connectivity = grpc.ChannelConnectivity
NO_CONNECTION = "failed to connect to all addresses; last error: refused"


class FakeNative:
    """A native call of any kind. Responses are bytes that begin with `number`, which no other call has."""

    def __init__(self, channel: "FakeChannel", path: str, request: Any, timeout: float | None) -> None:
        self.channel, self.path = channel, path
        self.loop = asyncio.get_running_loop()
        self.number = channel.wire.register(self)
        self.status: tuple[grpc.StatusCode, str, Metadata] | None = None
        self.was_cancelled = False
        self._callbacks: list[Callable[[Any], None]] = []
        self._response: asyncio.Future[Any] = self.loop.create_future()
        self._messages: asyncio.Queue[Any] = asyncio.Queue()
        self._timer = self.loop.call_later(timeout, self._expire) if timeout is not None else None
        self._poller = self.loop.create_task(self._poll(request)) if not isinstance(request, bytes) else None

    # -- the test --------------------------------------------------------------------------------

    def end(self, code: grpc.StatusCode, details: str = "", trailing: Iterable[Any] = ()) -> None:
        """The status arrives. With OK, a unary call has its response."""
        if self.status is not None:
            return
        self.status = (code, details, Metadata(*trailing))
        self._stop()
        for callback in self._callbacks:
            callback(self)
        self._messages.put_nowait(EOF)
        self._response.set_result(b"%d:0" % self.number)

    def send(self) -> None:
        """One message of a response stream arrives."""
        self._messages.put_nowait(b"%d:m" % self.number)

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
        await self._status()
        return Metadata()

    async def wait_for_connection(self) -> None:
        await self._raise_for_status()

    def __await__(self) -> Generator[Any, None, Any]:
        if not self._response.done():
            yield from asyncio.shield(self._response)
        self._raise()
        return self._response.result()

    async def read(self) -> Any:
        message = await self._messages.get()
        if message is EOF:
            self._messages.put_nowait(EOF)
            self._raise()
        return message

    async def write(self, request: bytes) -> None:
        if self.status is not None:
            raise asyncio.InvalidStateError("RPC already finished.")

    async def done_writing(self) -> None: ...

    async def _status(self) -> tuple[grpc.StatusCode, str, Metadata]:
        while self.status is None:
            await asyncio.shield(self._response)
        return self.status

    async def _raise_for_status(self) -> None:
        await self._status()
        self._raise()

    def _raise(self) -> None:
        assert self.status is not None
        code, details, trailing = self.status
        if self.was_cancelled:
            raise asyncio.CancelledError
        if code is not OK:
            raise AioRpcError(code, Metadata(), trailing, details, "")

    def _expire(self) -> None:
        if not self.channel.wire.forgetful:
            self.end(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _stop(self) -> None:
        self.channel.natives.pop(self, None)
        if self._timer is not None:
            self._timer.cancel()
        if self._poller is not None:
            self._poller.cancel()

    async def _poll(self, requests: Any) -> None:
        if isinstance(requests, AsyncIterable):
            async for _ in requests:
                await asyncio.sleep(0)
        elif requests is not None:
            for _ in requests:
                await asyncio.sleep(0)


class FakeChannel:
    """A native channel to one address. It connects when the test says so."""

    def __init__(self, wire: "Wire", uri: str) -> None:
        self.wire, self.address = wire, uri.partition(":")[2]
        self.state = Connectivity.READY if wire.is_up(self.address) else Connectivity.TRANSIENT_FAILURE
        self._changed = asyncio.Event()
        self.natives: dict[FakeNative, None] = {}
        wire.channels.append(self)

    def turn(self, state: grpc.ChannelConnectivity) -> None:
        """The connection is made, or breaks: then its calls end with it."""
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
        while self.state is last:
            await self._changed.wait()

    async def close(self, grace: float | None = None) -> None:
        for native in tuple(self.natives):
            native.cancel()
        self.turn(Connectivity.SHUTDOWN)

    def unary_unary(self, path: str) -> Any:
        def call(
            request: Any, timeout: float | None = None, metadata: Any = None, **options: Any
        ) -> FakeNative:
            if self.state is Connectivity.SHUTDOWN:
                raise grpc.aio.UsageError("Channel is closed.")
            native = FakeNative(self, path, request, timeout)
            if self.state is not Connectivity.READY:
                self.wire.unsent.add(native.number)
                native.loop.call_soon(native.end, UNAVAILABLE, NO_CONNECTION)
            return native

        return call

    unary_stream = stream_unary = stream_stream = unary_unary


class Wire:
    """All native channels that were made, and what is up."""

    def __init__(self) -> None:
        self.channels: list[FakeChannel] = []
        self.down: set[str] = set()
        #: By number.
        self.natives: list[FakeNative] = []
        #: Natives that no server has seen.
        self.unsent: set[int] = set()
        #: Whether native calls forget their deadlines.
        self.forgetful = False

    def open(self, uri: str, *arguments: Any) -> FakeChannel:
        """Instead of `grpc.aio.insecure_channel`."""
        return FakeChannel(self, uri)

    def is_up(self, address: str) -> bool:
        return address not in self.down

    def register(self, native: FakeNative) -> int:
        native.channel.natives[native] = None
        self.natives.append(native)
        return len(self.natives) - 1

    def live(self) -> list[FakeNative]:
        """Natives that have not ended, oldest first."""
        return [native for native in self.natives if native.status is None]

    def cut(self, address: str) -> None:
        """The peer is gone."""
        self.down.add(address)
        for channel in self.channels:
            if channel.address == address:
                channel.turn(Connectivity.TRANSIENT_FAILURE)

    def restore(self, address: str) -> None:
        """It is back."""
        self.down.discard(address)
        for channel in self.channels:
            if channel.address == address:
                channel.turn(Connectivity.READY)
