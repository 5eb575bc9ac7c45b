"""The outbox events of the user service: users to erase, and recovery codes to mail."""

from collections.abc import Mapping
from typing import Any

from services.kit import outbox

#: Topics of the outbox: the services that erase a user, and the mailing of recovery codes.
ORDERS, CHAT, NOTIFICATIONS, RECOVERY = "orders", "chat", "notifications", "recovery"
FORGETTERS = (ORDERS, CHAT, NOTIFICATIONS)
#: Seconds after which they are told again: the user's tokens stay valid for another half minute at most, and
#: chat messages and orders made with them must be erased, too.
AGAIN_AFTER = 120.0


def erasure(user_id: int, now: float) -> list[Mapping[str, Any]]:
    """Return the outbox rows for a user that is erased."""
    rows: list[Mapping[str, Any]] = []
    for topic in FORGETTERS:
        for key, due in ((f"{user_id}", now), (f"{user_id}-again", now + AGAIN_AFTER)):
            row = outbox.row(topic, key, f"erase-{key}-{topic}", {"user_id": user_id}, now)
            rows.append({**row, "due": due, "created_at": due})  # so that its age counts from its due time
    return rows


def recovery(user_id: int, request_id: int, now: float) -> Mapping[str, Any]:
    """Return the outbox row for a recovery code that is to be mailed.

    The code is made when it is sent, so that it is stored nowhere but in the letter.
    """
    return outbox.row(RECOVERY, f"{user_id}", f"recovery-{request_id}", {"user_id": user_id}, now)
