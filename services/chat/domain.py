"""Rooms, what is said in them, and who is there."""

import re
from dataclasses import dataclass

from grpcmesh.errors import FailedPrecondition

#: Characters of a message, of an idempotency key, and of a user's name as it is kept.
MAX_TEXT, MAX_KEY, MAX_NAME = 2000, 100, 200
#: The name of whom the shop has forgotten.
FORMER = "former user"
#: Rooms there can be: anyone who has logged in may open one by speaking in it.
MAX_ROOMS = 10_000
ROOM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ROOM_ID_RULE = (
    "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
)


@dataclass(frozen=True, slots=True)
class Author:
    """Who speaks, as the token says."""

    user_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What somebody wants to say. `key` None: it is said each time it is sent."""

    room: str
    author: Author
    text: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """What was said. Cursors count from 1 in each room, without gaps, in the order of commits."""

    id: int
    room: str
    cursor: int
    author: Author
    text: str
    sent_at: float

    def require_same(self, draft: Draft) -> None:
        """A key stands for one message.

        Raises:
            FailedPrecondition: KEY_REUSED.
        """
        if self.text != draft.text:
            raise FailedPrecondition("the idempotency key was used for another message", "KEY_REUSED")


@dataclass(frozen=True, slots=True)
class Stay:
    """One open stream of a user in a room; a user may have several."""

    id: str
    room: str
    author: Author
