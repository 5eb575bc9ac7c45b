"""The use cases: tell a user something, list what it was told, follow it."""

from collections.abc import AsyncGenerator
from functools import partial

from grpcmesh.clock import Clock
from services.kit.actor import Actor
from services.kit.follow import MAX_AGE, Follower
from services.kit.paging import Page, Slice
from services.notification.domain import Draft, Notification, Sender
from services.notification.ports import Store


class Inbox:
    """Users' notifications, as this process sees them. `look` is to be called every `follow.TICK`.

    Args:
        store: Where they are.
        now: Unix seconds.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, now: Clock, max_age: float = MAX_AGE) -> None:
        self._store, self._now = store, now
        self._follower = Follower(store.versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    @property
    def streams(self) -> int:
        """How many are open."""
        return self._follower.streams

    async def send(self, sender: Sender, draft: Draft) -> Notification:
        """Tells it; once per event. Streams of this process see it at once, others at their next look.

        Raises:
            Unauthenticated, PermissionDenied: the sender may not.
        """
        sender.require_may_send()
        notification = await self._store.add(draft, self._now())
        self.wake(draft.user_id)
        return notification

    async def page(self, actor: Actor, user_id: int, page: Page) -> Slice[Notification]:
        """A page of what a user was told, newest first. Raises Unauthenticated or PermissionDenied."""
        actor.require_self_or_admin(user_id)
        return await self._store.page(user_id, page)

    async def latest(self, actor: Actor, user_id: int) -> int:
        """The user's last cursor, 0 where there is none. Raises Unauthenticated or PermissionDenied."""
        actor.require_self_or_admin(user_id)
        return (await self._store.versions([user_id])).get(user_id, 0)

    async def erase_user(self, user_id: int) -> None:
        """Takes the words from what a user was told, and drops its letters."""
        await self._store.erase_user(user_id)

    async def forget(self, kept: float) -> int:
        """Drops what is older than so many seconds; how many that were. Cursors go on from where they are."""
        return await self._store.forget(self._now() - kept)

    def follow(self, user_id: int, after: int) -> AsyncGenerator[Notification, None]:
        """Every notification after that cursor, without end; for an actor that may see `latest`."""
        return self._follower.follow(user_id, after, partial(self._store.since, user_id))
