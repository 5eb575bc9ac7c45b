"""What the use cases need: a place for messages, and one for who is where. Each method is one transaction."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from services.chat.domain import Author, Draft, Message, Stay
from services.kit.paging import Page, Slice


class Store(Protocol):
    """Where messages are recorded."""

    async def post(self, draft: Draft, now: float) -> Message:
        """Records it under the room's next cursor; what is recorded already, if its key is taken.

        Raises:
            FailedPrecondition: KEY_REUSED; TOO_MANY_ROOMS, where it would open one.
        """
        ...

    async def since(self, room: str, cursor: int, limit: int) -> Sequence[Message]:
        """What was said after a cursor, oldest first."""
        ...

    async def history(self, room: str, page: Page) -> Slice[Message]:
        """What was said, oldest first, of what is kept."""
        ...

    async def forget(self, before: float) -> int:
        """Drops what was said before that (Unix seconds); how many messages that were."""
        ...

    async def erase_author(self, user_id: int) -> None:
        """Takes the name and the words from what a user said; that something was said stays."""
        ...

    async def versions(self, rooms: Sequence[str]) -> Mapping[str, int]:
        """The last cursor of each room that there is."""
        ...


class Attendance(Protocol):
    """Which streams are open where, in every replica."""

    async def enter(self, stays: Sequence[Stay], expires_at: float) -> None:
        """Records them, or that they go on."""
        ...

    async def leave(self, ids: Sequence[str]) -> None: ...

    async def expire(self, now: float) -> None:
        """Forgets those whose replica has not spoken for them."""
        ...

    async def online(self, room: str, now: float, after_user: int, limit: int) -> Sequence[Author]:
        """Users in a room, each once, by id."""
        ...
