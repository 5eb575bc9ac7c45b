"""The methods of NotificationService that are written to the audit log: messages that admins send to
users.
"""

from collections.abc import Mapping

from services.kit.audit import AuditedMethod

AUDITED: Mapping[str, AuditedMethod] = {
    "SendNotification": AuditedMethod("notification", detail=lambda request: f"to user {request.user_id}"),
}
