"""Notifications: messages from the shop to a user."""

import enum
from dataclasses import dataclass

from services.kit.actor import Actor

#: The most characters of a title, a body and an event's id.
MAX_TITLE, MAX_BODY, MAX_EVENT_ID = 200, 2000, 200


class Kind(enum.Enum):
    """The subject of a notification."""

    ORDER = "ORDER"
    PAYMENT = "PAYMENT"
    CHAT = "CHAT"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Draft:
    """A notification to send. If `event_id` is None, each sending creates a new one."""

    user_id: int
    kind: Kind
    title: str
    body: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification that was recorded.

    The cursors of a user count from 1, without gaps, in the order of commits. `created_at` is in Unix
    seconds.
    """

    id: int
    user_id: int
    cursor: int
    kind: Kind
    title: str
    body: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Sender:
    """The sender of a notification: one of the shop's services on its own behalf (`internal`), or a user."""

    actor: Actor
    internal: bool = False

    def require_may_send(self) -> None:
        """Raise Unauthenticated or PermissionDenied unless the sender is one of the shop's services or an
        admin.
        """
        if not self.internal:
            self.actor.require_admin()
