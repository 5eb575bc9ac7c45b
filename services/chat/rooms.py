"""The use cases: post a message, read messages, follow a room."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial

from grpcmesh.clock import Clock
from services.chat.domain import Draft, Message
from services.chat.ports import Store
from services.kit.follow import MAX_AGE, Follower
from services.kit.paging import Page, Slice


class Rooms:
    """The rooms. Call `look` every `follow.TICK`.

    Args:
        store: Stores the messages.
        now: Returns the time in Unix seconds.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, now: Clock, max_age: float = MAX_AGE) -> None:
        self._store, self._now = store, now
        self._follower = Follower(store.versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    async def post(self, draft: Draft) -> Message:
        """Post a message, once per key.

        This process's streams receive it at once, those of other replicas at their next poll.

        Raises:
            FailedPrecondition: KEY_REUSED or TOO_MANY_ROOMS; see `services.chat.ports.Store.post`.
        """
        message = await self._store.post(draft, self._now())
        self.wake(draft.room)
        return message

    async def history(self, room: str, page: Page) -> Slice[Message]:
        """Return a page of messages, the oldest first, so that pages do not shift while others post."""
        return await self._store.history(room, page)

    async def erase_author(self, user_id: int) -> None:
        """Delete the name and the text of a user's messages."""
        await self._store.erase_author(user_id)

    async def forget(self, kept: float) -> int:
        """Delete messages older than `kept` seconds. Return how many."""
        return await self._store.forget(self._now() - kept)

    async def latest(self, room: str) -> int:
        """Return the cursor of the last message, or 0 if there is none."""
        return (await self._store.versions([room])).get(room, 0)

    def follow(self, room: str, after: int) -> AsyncGenerator[Message, None]:
        """Yield every message after a cursor, without end."""
        return self._follower.follow(room, after, partial(self._store.since, room))

    async def since(self, room: str, after: int, limit: int) -> Sequence[Message]:
        """Return at most `limit` messages after a cursor, the oldest first."""
        return await self._store.since(room, after, limit)
