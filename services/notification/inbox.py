"""The use cases: notify a user, list its notifications, follow them."""

from collections.abc import AsyncGenerator
from functools import partial

from grpcmesh.clock import Clock
from services.kit.actor import Actor
from services.kit.follow import MAX_AGE, Follower
from services.kit.paging import Page, Slice
from services.notification.domain import Draft, Notification, Sender
from services.notification.ports import Store


class Inbox:
    """Users' notifications. Call `look` every `follow.TICK`.

    Args:
        store: Stores the notifications.
        now: Returns the time in Unix seconds.
        max_age: Seconds after which a stream is ended, to be resumed.
    """

    def __init__(self, store: Store, now: Clock, max_age: float = MAX_AGE) -> None:
        self._store, self._now = store, now
        self._follower = Follower(store.versions, max_age=max_age)
        self.look, self.wake = self._follower.look, self._follower.wake

    @property
    def streams(self) -> int:
        """Return the number of open streams."""
        return self._follower.streams

    async def send(self, sender: Sender, draft: Draft) -> Notification:
        """Record a notification, once per event.

        This process's streams receive it at once, those of other replicas at their next poll.

        Raises:
            Unauthenticated, PermissionDenied: the sender may not send notifications.
        """
        sender.require_may_send()
        notification = await self._store.add(draft, self._now())
        self.wake(draft.user_id)
        return notification

    async def page(self, actor: Actor, user_id: int, page: Page) -> Slice[Notification]:
        """Return a page of a user's notifications, the newest first.

        Raises Unauthenticated or PermissionDenied.
        """
        actor.require_self_or_admin(user_id)
        return await self._store.page(user_id, page)

    async def latest(self, actor: Actor, user_id: int) -> int:
        """Return the user's last cursor, or 0 if there is none.

        Raises Unauthenticated or PermissionDenied.
        """
        actor.require_self_or_admin(user_id)
        return (await self._store.versions([user_id])).get(user_id, 0)

    async def erase_user(self, user_id: int) -> None:
        """Delete the text of a user's notifications, and delete its letters."""
        await self._store.erase_user(user_id)

    async def forget(self, kept: float) -> int:
        """Delete notifications older than `kept` seconds.

        Return how many. Cursors continue where they are.
        """
        return await self._store.forget(self._now() - kept)

    def follow(self, user_id: int, after: int) -> AsyncGenerator[Notification, None]:
        """Yield every notification after a cursor, without end. The actor must be allowed to see `latest`."""
        return self._follower.follow(user_id, after, partial(self._store.since, user_id))
