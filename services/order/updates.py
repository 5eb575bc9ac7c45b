"""Follows the changes of an order, whichever replica makes them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from services.kit.follow import MAX_AGE, Follower, remaining
from services.order.domain import FINAL, Event, Order
from services.order.ports import Store


class Updates:
    """The streams of a process that follow orders. Call `look` every `follow.TICK`.

    Args:
        store: Stores the events.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, max_age: float = MAX_AGE) -> None:
        self._store = store
        self._follower = Follower(store.versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    @property
    def streams(self) -> int:
        """Return the number of open streams."""
        return self._follower.streams

    async def follow(self, order: Order, after: int) -> AsyncIterator[Event]:
        """Yield every change after a cursor, until the order is cancelled or refunded.

        Args:
            order: The order as just read.
            after: The cursor; 0 begins with the next change after `order.version`.
        """

        async def since(cursor: int, limit: int) -> Sequence[Event]:
            return await self._store.events(order.id, cursor, limit)

        after = after or order.version
        changes = remaining(after, since) if order.final else self._follower.follow(order.id, after, since)
        async with aclosing(changes):
            async for event in changes:
                yield event
                if event.status in FINAL:
                    return
