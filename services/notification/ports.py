"""What the use cases of notifications need of others: a place to record."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.kit.paging import Page, Slice
from services.notification.domain import Draft, Notification


class Store(Protocol):
    """Where notifications are recorded. Each method is one transaction."""

    async def add(self, draft: Draft, now: float) -> Notification:
        """Records it, unless something was recorded under its event's id before: then that."""
        ...

    async def since(self, user_id: int, cursor: int, limit: int) -> Sequence[Notification]:
        """A user's notifications after a cursor, oldest first."""
        ...

    async def page(self, user_id: int, page: Page) -> Slice[Notification]:
        """A user's notifications, newest first."""
        ...

    async def forget(self, before: float) -> int:
        """Drops what was told before that (Unix seconds); how many that were."""
        ...

    async def erase_user(self, user_id: int) -> None:
        """Takes the words from what a user was told; that it was told something stays. Drops its letters."""
        ...

    async def versions(self, user_ids: Sequence[int]) -> Mapping[int, int]:
        """The last cursor of each user that was told anything."""
        ...
