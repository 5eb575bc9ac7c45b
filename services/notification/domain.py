"""Notifications: what the shop tells a user."""

import enum
from dataclasses import dataclass

from services.kit.actor import Actor

#: Characters of a title, a body and an event's id.
MAX_TITLE, MAX_BODY, MAX_EVENT_ID = 200, 2000, 200


class Kind(enum.Enum):
    """What a notification is about."""

    ORDER = "ORDER"
    PAYMENT = "PAYMENT"
    CHAT = "CHAT"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be told. `event_id` None: it is told each time it is sent."""

    user_id: int
    kind: Kind
    title: str
    body: str
    event_id: str | None = None


@dataclass(frozen=True, slots=True)
class Notification:
    """What was told. Cursors count from 1 for each user, without gaps, in the order of commits.

    `created_at` is in Unix seconds.
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
    """Who wants something told: one of the shop's services on its own behalf, or a user."""

    actor: Actor
    internal: bool = False

    def require_may_send(self) -> None:
        """Raises Unauthenticated or PermissionDenied: users are told things by the shop and its admins."""
        if not self.internal:
            self.actor.require_admin()
