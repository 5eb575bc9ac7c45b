"""What of NotificationService goes into the audit log: what admins tell users."""

from collections.abc import Mapping

from services.kit.audit import Act

ACTS: Mapping[str, Act] = {
    "SendNotification": Act("notification", detail=lambda request: f"to user {request.user_id}"),
}
