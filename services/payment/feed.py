"""Follows payments as they are settled, whichever replica settles them."""

from collections.abc import AsyncIterator, Sequence

from services.kit.follow import MAX_AGE, Follower
from services.payment.domain import Payment
from services.payment.ports import Store

#: The only key that there is to follow.
ALL = "all"


class Feed:
    """The streams of a process that follow payments. Call `look` every `follow.TICK`.

    Args:
        store: Stores the payments.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, max_age: float = MAX_AGE) -> None:
        self._store = store
        self._follower = Follower[str](self._versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    async def last_cursor(self) -> int:
        """Return the cursor of the payment that was settled last."""
        return await self._store.last_cursor()

    def follow(self, after: int) -> AsyncIterator[Payment]:
        """Yield every payment settled after a cursor, without end; see `services.kit.follow`."""
        return self._follower.follow(ALL, after, self._store.settled)

    async def _versions(self, _: Sequence[str]) -> dict[str, int]:
        return {ALL: await self._store.last_cursor()}
