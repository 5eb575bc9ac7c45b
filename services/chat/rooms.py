"""The use cases: say something, read what was said, follow a room."""

from collections.abc import AsyncGenerator, Sequence
from functools import partial

from grpcmesh.clock import Clock
from services.chat.domain import Draft, Message
from services.chat.ports import Store
from services.kit.follow import MAX_AGE, Follower
from services.kit.paging import Page, Slice


class Rooms:
    """The rooms, as this process sees them. `look` is to be called every `follow.TICK`.

    Args:
        store: Where messages are.
        now: Unix seconds.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, now: Clock, max_age: float = MAX_AGE) -> None:
        self._store, self._now = store, now
        self._follower = Follower(store.versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    async def post(self, draft: Draft) -> Message:
        """Says it; once per key. Streams of this process see it at once, others at their next look."""
        message = await self._store.post(draft, self._now())
        self.wake(draft.room)
        return message

    async def history(self, room: str, page: Page) -> Slice[Message]:
        """A page of what was said, oldest first, so that a page keeps its place as others speak."""
        return await self._store.history(room, page)

    async def erase_author(self, user_id: int) -> None:
        """Takes the name and the words from what a user said."""
        await self._store.erase_author(user_id)

    async def forget(self, kept: float) -> int:
        """Drops what is older than so many seconds; how many messages that were."""
        return await self._store.forget(self._now() - kept)

    async def latest(self, room: str) -> int:
        """The cursor of the last message; 0 where nothing was said."""
        return (await self._store.versions([room])).get(room, 0)

    def follow(self, room: str, after: int) -> AsyncGenerator[Message, None]:
        """Every message after that cursor, without end."""
        return self._follower.follow(room, after, partial(self._store.since, room))

    async def since(self, room: str, after: int, limit: int) -> Sequence[Message]:
        """Messages after that cursor, as many as there are now."""
        return await self._store.since(room, after, limit)
