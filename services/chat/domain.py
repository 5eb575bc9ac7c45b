"""Rooms, the messages in them, and the users who are there."""

import re
from dataclasses import dataclass

from grpcmesh.errors import FailedPrecondition

#: The most characters of a message, of an idempotency key, and of a user's stored name.
MAX_TEXT, MAX_KEY, MAX_NAME = 2000, 100, 200
#: The name shown for a user that was erased.
FORMER = "former user"
#: The most rooms: every user who is logged in may open one by posting in it.
MAX_ROOMS = 10_000
ROOM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
ROOM_ID_RULE = (
    "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
)


@dataclass(frozen=True, slots=True)
class Author:
    """The author of a message, as the token says."""

    user_id: int
    name: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A message to post. If `key` is None, each sending posts a new one."""

    room: str
    author: Author
    text: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message that was posted.

    The cursors of a room count from 1, without gaps, in the order of commits.
    """

    id: int
    room: str
    cursor: int
    author: Author
    text: str
    sent_at: float

    def require_same(self, draft: Draft) -> None:
        """Check that a draft repeats this message: an idempotency key stands for one message.

        Raises:
            FailedPrecondition: the text differs; KEY_REUSED.
        """
        if self.text != draft.text:
            raise FailedPrecondition("the idempotency key was used for another message", "KEY_REUSED")


@dataclass(frozen=True, slots=True)
class Stay:
    """One open stream of a user in a room. A user may have several."""

    id: str
    room: str
    author: Author
