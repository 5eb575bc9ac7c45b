"""Following an order, whichever replica changes it.

The queue between the change and its readers is the table of events itself: a reader that is slow lags
there, and nothing grows in memory. One query a tick asks for the versions of all the orders that the
process's streams follow, and wakes the streams whose order has moved.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from mesh.errors import ResourceExhausted
from services.order.domain import FINAL, Event, Order
from services.order.ports import Store

#: Seconds between two looks at the versions.
TICK = 0.2
#: Streams that one process holds open.
MAX_STREAMS = 5000
#: Events read at once, and orders asked about in one query (SQLite binds 32,766 at most).
BATCH = 500


@dataclass(slots=True, eq=False)
class _Watch:
    order_id: int
    version: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Updates:
    """The streams of a process that follow orders. `look` is to be called every `TICK`.

    Args:
        store: Where events are.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._watches: set[_Watch] = set()

    @property
    def streams(self) -> int:
        """How many are open."""
        return len(self._watches)

    async def follow(self, order: Order, after: int) -> AsyncIterator[Event]:
        """Every change after that cursor, until the order is cancelled or refunded.

        Args:
            order: As just read.
            after: 0 begins with the next change after `order.version`.
        """
        cursor = after or order.version
        ended = order.final
        with self._watching(order.id) as watch:
            while True:
                watch.moved.clear()
                async for event in self._since(order.id, cursor):
                    cursor, ended = event.cursor, event.status in FINAL
                    yield event
                if ended:
                    return
                await watch.moved.wait()

    async def _since(self, order_id: int, cursor: int) -> AsyncIterator[Event]:
        while batch := await self._store.events(order_id, cursor, BATCH):
            for event in batch:
                yield event
            cursor = batch[-1].cursor

    @contextmanager
    def _watching(self, order_id: int) -> Iterator[_Watch]:
        if len(self._watches) >= MAX_STREAMS:
            raise ResourceExhausted("too many streams are open here", retry_after=1.0)
        watch = _Watch(order_id)
        self._watches.add(watch)
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def look(self) -> None:
        """Wakes the streams whose order has moved since the last look."""
        watches = tuple(self._watches)
        ids = sorted({watch.order_id for watch in watches})
        for start in range(0, len(ids), BATCH):
            await self._wake(watches, ids[start : start + BATCH])

    async def _wake(self, watches: Sequence[_Watch], ids: Sequence[int]) -> None:
        versions = await self._store.versions(ids)
        for watch in watches:
            version = versions.get(watch.order_id, 0)
            if version > watch.version:
                watch.version = version
                watch.moved.set()
