"""The ports of the use cases: storage for messages, and for presence. Each method is one transaction."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.chat.domain import Author, Draft, Message, Stay
from services.kit.paging import Page, Slice


class Store(Protocol):
    """Port: stores messages."""

    async def post(self, draft: Draft, now: float) -> Message:
        """Record a message with the room's next cursor. If its key is taken, return the recorded message.

        Raises:
            FailedPrecondition: KEY_REUSED if the recorded message differs; TOO_MANY_ROOMS if it would open a
                room.
        """
        ...

    async def since(self, room: str, cursor: int, limit: int) -> Sequence[Message]:
        """Return at most `limit` messages after a cursor, the oldest first."""
        ...

    async def history(self, room: str, page: Page) -> Slice[Message]:
        """Return a page of the messages that are kept, the oldest first."""
        ...

    async def forget(self, before: float) -> int:
        """Delete messages from before the Unix time `before`. Return how many."""
        ...

    async def erase_author(self, user_id: int) -> None:
        """Delete the name and the text of a user's messages, but keep their records."""
        ...

    async def versions(self, rooms: Sequence[str]) -> Mapping[str, int]:
        """Return the last cursor of each room that exists."""
        ...


class Attendance(Protocol):
    """Port: records the open streams of every replica."""

    async def enter(self, stays: Sequence[Stay], expires_at: float) -> None:
        """Record streams, or extend those that are recorded, until the Unix time `expires_at`."""
        ...

    async def leave(self, ids: Sequence[str]) -> None: ...

    async def expire(self, now: float) -> None:
        """Delete streams that their replica did not extend in time."""
        ...

    async def online(self, room: str, now: float, after_user: int, limit: int) -> Sequence[Author]:
        """Return the users in a room, each once, ordered by id: at most `limit` after `after_user`."""
        ...
