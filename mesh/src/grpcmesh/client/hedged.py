"""An attempt of a hedged call with a stream of responses."""

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc.aio import EOF, AioRpcError

from grpcmesh.client.attempt import NOTHING, StreamAttempt
from grpcmesh.client.failures import settled
from grpcmesh.client.machines import AttemptState

if TYPE_CHECKING:
    from grpcmesh.client.flight import Flight

_LATE = grpc.StatusCode.DEADLINE_EXCEEDED
_OPEN, _ENDED = AttemptState.OPEN, AttemptState.ENDED
#: Seconds after which headers without a message count as an answer. A server that fails a call at once sends
#: headers and trailers together, but gRPC reports the headers first.
_HEADERS_ALONE = 0.01


class HedgedStreamAttempt(StreamAttempt):
    """A stream of responses that may run at the same time as other attempts of its call.

    The first attempt to answer wins (gRFC A6). An answer is a message, or headers that no status follows. The
    attempt reads its first message whether or not the caller reads, and keeps it for the caller.
    """

    __slots__ = ("_asked", "_first")

    def __init__(self, flight: "Flight", endpoint: Any, number: int, started: float) -> None:
        super().__init__(flight, endpoint, number, started)
        #: The first message, while the caller has not read it.
        self._first: Any = NOTHING
        #: Set when it is known whether there is a first message.
        self._asked = asyncio.Event()
        self._reading = 1  # until the caller has the first message: its end must not come before that
        flight.core.tasks.spawn(self._ask(), "hedged stream")

    @property
    def holds(self) -> bool:
        """Return whether there is a first message that the caller has not read. The end comes after it."""
        return self._first is not NOTHING

    def native_done(self) -> None:
        super().native_done()
        if self.state is not _ENDED and settled(self.native.code(), None) is _LATE:
            self._settle()  # nothing outlives its deadline: what has not been read is lost
        self._watch_deadline()

    async def receive(self) -> Any:
        await self._asked.wait()
        if self._first is not NOTHING:
            data, self._first = self._first, NOTHING
            self._reading -= 1
            return self._received(data)
        return NOTHING if self.state is not AttemptState.COMMITTED else await super().receive()

    async def _ask(self) -> None:
        """Read the first message, and win with it. The driver has made the native call by now."""
        try:
            data = EOF if self.native is None else await self._first_message()
        finally:
            self._asked.set()
        if data is EOF or self.state is _ENDED:
            self._reading -= 1
            if self._done:
                self._settle()
            return
        self._first = data
        self._watch_deadline()
        self._win()

    async def _first_message(self) -> Any:
        native = self.native
        await native.initial_metadata()
        read = asyncio.ensure_future(_read(native))
        try:
            await asyncio.wait({read}, timeout=_HEADERS_ALONE)
            if not read.done():
                self._win()
            return await read
        finally:
            read.cancel()

    def _watch_deadline(self) -> None:
        """Enforce the deadline while a message is kept: gRPC's timer has ended with the native call."""
        if self._done and self.holds and self.state is not _ENDED:
            self.flight.watch_deadline()

    def _win(self) -> None:
        if self.state is _OPEN:
            self.flight.decided(self)


async def _read(native: Any) -> Any:
    """Return the next message, or EOF if the native call has ended, with or without an error."""
    try:
        return await native.read()
    except AioRpcError:
        return EOF
    except asyncio.CancelledError:
        if native.done():  # cancelled as a call, not this task
            return EOF
        raise
