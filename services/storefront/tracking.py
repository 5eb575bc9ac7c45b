"""Reports to the analytics service what visitors view and search for, without delaying the pages.

A page puts a note into a bounded queue; a task sends the notes once a second. While the service is down the
newest notes wait, up to the bound: they are statistics, not accounting.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import grpc
from ecommerce import analytics_pb2 as pb
from ecommerce.analytics_pb2_grpc import AnalyticsServiceStub

from grpcmesh.clock import Clock
from grpcmesh.errors import MeshError
from services.kit.background import repeating

#: The most notes that wait; the most in a batch; seconds between two batches; timeout of one in seconds.
MAX_WAITING, BATCH, INTERVAL, TIMEOUT = 2000, 500, 1.0, 5.0
#: Status codes that the same batch would get again.
_HOPELESS = frozenset({grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.PERMISSION_DENIED})


@dataclass(frozen=True, slots=True)
class Note:
    """A view of a product or, without a product id, a search. It does not say who did it."""

    at: float
    product_id: int = 0
    #: Never changes, so that the note is counted once.
    event_id: str = field(default_factory=lambda: uuid.uuid4().hex)


#: Delivers notes. Raises MeshError if it is worth trying again.
Send = Callable[[Sequence[Note]], Awaitable[None]]


class Tracking:
    """The queue of notes.

    Args:
        send: Sends a batch.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, send: Send, now: Clock) -> None:
        self._send, self._now = send, now
        self._waiting: deque[Note] = deque(maxlen=MAX_WAITING)  # the oldest fall out

    def viewed(self, product_id: int) -> None:
        """Record that a product was viewed. Does not block."""
        self._waiting.append(Note(self._now(), product_id))

    def searched(self) -> None:
        """Record a search. Does not block."""
        self._waiting.append(Note(self._now()))

    async def flush(self) -> None:
        """Send the notes that wait. Notes that were not accepted wait on."""
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            try:
                await self._send(batch)
            except (MeshError, asyncio.CancelledError):
                self._put_back(batch)
                raise

    def _put_back(self, batch: Sequence[Note]) -> None:
        room = MAX_WAITING - len(self._waiting)
        self._waiting.extendleft(reversed(batch[-room:] if room else []))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Send notes periodically until the end of the block, and once more at its end."""
        async with repeating(self.flush, INTERVAL, "tracking"):
            yield
        try:
            async with asyncio.timeout(TIMEOUT):
                await self.flush()
        except (MeshError, TimeoutError):
            pass  # the process leaves; it need not wait for statistics


class Analytics:
    """The `Send` that calls AnalyticsService.

    Args:
        channel: A mesh channel to `analytics`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AnalyticsServiceStub(channel)

    async def __call__(self, notes: Sequence[Note]) -> None:
        """Send notes. Raises MeshError if it is worth trying again."""
        try:
            await self._stub.TrackEvents(iter([_request(note) for note in notes]), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            if e.code() not in _HOPELESS:
                raise MeshError(f"analytics: {e.code().name}") from None


def _request(note: Note) -> pb.EventRequest:
    kind = pb.EVENT_KIND_PRODUCT_VIEWED if note.product_id else pb.EVENT_KIND_PRODUCT_SEARCHED
    request = pb.EventRequest(event_id=note.event_id, kind=kind, product_id=note.product_id)
    request.timestamp.FromMicroseconds(round(note.at * 1e6))
    return request
