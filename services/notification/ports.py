"""The port of the use cases of notifications."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.kit.paging import Page, Slice
from services.notification.domain import Draft, Notification


class Store(Protocol):
    """Port: stores notifications. Each method is one transaction."""

    async def add(self, draft: Draft, now: float) -> Notification:
        """Record a notification and return it.

        If one is recorded with its event id, return that one instead.
        """
        ...

    async def since(self, user_id: int, cursor: int, limit: int) -> Sequence[Notification]:
        """Return at most `limit` of a user's notifications after a cursor, the oldest first."""
        ...

    async def page(self, user_id: int, page: Page) -> Slice[Notification]:
        """Return a page of a user's notifications, the newest first."""
        ...

    async def forget(self, before: float) -> int:
        """Delete notifications from before the Unix time `before`. Return how many."""
        ...

    async def erase_user(self, user_id: int) -> None:
        """Delete the text of a user's notifications, but keep their records. Delete its letters."""
        ...

    async def versions(self, user_ids: Sequence[int]) -> Mapping[int, int]:
        """Return the last cursor of each user that has notifications."""
        ...
