"""The methods of NotificationService that are written to the audit log: messages that admins send to
users.
"""

from collections.abc import Mapping

from services.kit.audit import Act

ACTS: Mapping[str, Act] = {
    "SendNotification": Act("notification", detail=lambda request: f"to user {request.user_id}"),
}
