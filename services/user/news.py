"""What others are told of users: that one is to be forgotten, and what is to be mailed."""

from collections.abc import Mapping
from typing import Any

from services.kit import outbox

#: Topics of the outbox: who forgets a user, and its codes for a forgotten password.
ORDERS, CHAT, NOTIFICATIONS, RECOVERY = "orders", "chat", "notifications", "recovery"
FORGETTERS = (ORDERS, CHAT, NOTIFICATIONS)
#: Seconds after which they are told again: the user's tokens are good for another half minute at most, and
#: what is said or ordered with them is to be forgotten, too.
AGAIN_AFTER = 120.0


def erasure(user_id: int, now: float) -> list[Mapping[str, Any]]:
    """The rows of the outbox for a user that is forgotten."""
    rows: list[Mapping[str, Any]] = []
    for topic in FORGETTERS:
        for key, due in ((f"{user_id}", now), (f"{user_id}-again", now + AGAIN_AFTER)):
            row = outbox.row(topic, key, f"erase-{key}-{topic}", {"user_id": user_id}, now)
            rows.append({**row, "due": due, "created_at": due})  # its age counts from when it is due
    return rows


def recovery(user_id: int, request_id: int, now: float) -> Mapping[str, Any]:
    """The row of the outbox for a code that is to be mailed. The code is made when it is sent, so that it
    lies nowhere but in the letter."""
    return outbox.row(RECOVERY, f"{user_id}", f"recovery-{request_id}", {"user_id": user_id}, now)
