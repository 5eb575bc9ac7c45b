"""Converts protobuf to the domain and back. The form of requests is checked here, all fields at once."""

from ecommerce import chat_pb2 as pb
from ecommerce import user_pb2
from google.protobuf import timestamp_pb2

from grpcmesh.errors import PermissionDenied
from services.chat.domain import MAX_KEY, MAX_TEXT, ROOM_ID, ROOM_ID_RULE, Author, Draft, Message
from services.kit.validation import Check, checking


def room_of(check: Check, room_id: str) -> str:
    """Return the room of a request, and record in `check` if it is no valid room id."""
    check.that(ROOM_ID.fullmatch(room_id) is not None, "room_id", ROOM_ID_RULE)
    return room_id


def cursor_of(check: Check, field: str, cursor: int) -> int:
    """Return the cursor to resume after, and record in `check` if it is negative."""
    check.that(cursor >= 0, field, "must not be negative")
    return cursor


def draft_of(author: Author, message: pb.ChatMessage, room: str = "") -> Draft:
    """Return the message that a request posts.

    Args:
        author: The user of the token.
        message: The request. It either does not name its author or names this one.
        room: The room of the stream, if it has one: the message may leave it out.

    Raises:
        InvalidArgument: names each wrong field.
        PermissionDenied: the message names another author; NOT_YOURS.
    """
    require_own(author, message)
    with checking() as check:
        if room and message.room_id not in ("", room):
            check.fail("room_id", f"this stream is in the room {room}")
        text = check.text("text", message.text, least=1, most=MAX_TEXT)
        key = key_of(check, message)
        room = room or room_of(check, message.room_id)
    return Draft(room, author, text, key)


def key_of(check: Check, message: pb.ChatMessage) -> str | None:
    """Return the idempotency key, or None if there is none."""
    return check.text("idempotency_key", message.idempotency_key, most=MAX_KEY) or None


def require_own(author: Author, message: pb.ChatMessage) -> None:
    """Raise PermissionDenied (NOT_YOURS) if the message names another author. That holds for admins, too."""
    if message.user_id not in (0, author.user_id):
        raise PermissionDenied("a user speaks for itself only", "NOT_YOURS", user_id=str(message.user_id))


def chat_message(message: Message) -> pb.ChatMessage:
    """Return the message as a protobuf message."""
    sent_at = timestamp_pb2.Timestamp()
    sent_at.FromMicroseconds(round(message.sent_at * 1e6))
    return pb.ChatMessage(
        id=message.id,
        room_id=message.room,
        user_id=message.author.user_id,
        user_name=message.author.name,
        text=message.text,
        sent_at=sent_at,
        cursor=message.cursor,
    )


def user_message(author: Author) -> user_pb2.User:
    """Return what others may know of a user in a room, as a protobuf message."""
    return user_pb2.User(id=author.user_id, name=author.name)
