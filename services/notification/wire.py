"""Converts protobuf to the domain and back. The form of requests is checked here, all fields at once."""

from ecommerce import notification_pb2 as pb
from google.protobuf import timestamp_pb2

from services.kit.validation import Check
from services.notification.domain import MAX_BODY, MAX_EVENT_ID, MAX_TITLE, Draft, Kind, Notification
from services.notification.mail import MAX_ADDRESS, MAX_SUBJECT, Letter
from services.notification.mail import MAX_BODY as MAX_MAIL_BODY

_KINDS = {
    pb.NOTIFICATION_KIND_ORDER: Kind.ORDER,
    pb.NOTIFICATION_KIND_PAYMENT: Kind.PAYMENT,
    pb.NOTIFICATION_KIND_CHAT: Kind.CHAT,
    pb.NOTIFICATION_KIND_SYSTEM: Kind.SYSTEM,
}
_KIND_NUMBERS = {kind: number for number, kind in _KINDS.items()}


def draft_of(check: Check, request: pb.NotificationRequest) -> Draft:
    """Return the notification that a request asks for, and record violations in `check`."""
    check.choice("kind", request.kind, tuple(_KINDS))
    return Draft(
        check.id("user_id", request.user_id),
        _KINDS.get(request.kind, Kind.SYSTEM),
        check.text("title", request.title, least=1, most=MAX_TITLE),
        check.text("body", request.body, most=MAX_BODY),
        check.text("event_id", request.event_id, most=MAX_EVENT_ID) or None,
    )


def notification_message(notification: Notification) -> pb.Notification:
    """Return the notification as a protobuf message."""
    created_at = timestamp_pb2.Timestamp()
    created_at.FromMicroseconds(round(notification.created_at * 1e6))
    return pb.Notification(
        id=notification.id,
        user_id=notification.user_id,
        kind=_KIND_NUMBERS[notification.kind],
        title=notification.title,
        body=notification.body,
        created_at=created_at,
        cursor=notification.cursor,
    )


def letter_of(check: Check, request: pb.SendMailRequest) -> Letter:
    """Return the letter that a request asks for, and record violations in `check`."""
    return Letter(
        check.id("user_id", request.user_id),
        check.text("to", request.to, least=1, most=MAX_ADDRESS),
        check.text("subject", request.subject, least=1, most=MAX_SUBJECT),
        check.text("body", request.body, least=1, most=MAX_MAIL_BODY),
        check.text("event_id", request.event_id, most=MAX_EVENT_ID) or None,
    )


def mail_message(letter: Letter) -> pb.Mail:
    """Return the letter as a protobuf message."""
    message = pb.Mail(id=letter.id, to=letter.to, subject=letter.subject, body=letter.body)
    message.created_at.FromMicroseconds(round(letter.created_at * 1e6))
    return message
