"""Protobuf to domain and back: the shape of requests is checked here, all wrong fields at once."""

from ecommerce import chat_pb2 as pb
from ecommerce import user_pb2
from google.protobuf import timestamp_pb2

from grpcmesh.errors import PermissionDenied
from services.chat.domain import MAX_KEY, MAX_TEXT, ROOM_ID, ROOM_ID_RULE, Author, Draft, Message
from services.kit.validation import Check, checking


def room_of(check: Check, room_id: str) -> str:
    """The room of a request, with `check` told if no room can be called that."""
    check.that(ROOM_ID.fullmatch(room_id) is not None, "room_id", ROOM_ID_RULE)
    return room_id


def cursor_of(check: Check, field: str, cursor: int) -> int:
    """A cursor to resume after."""
    check.that(cursor >= 0, field, "must not be negative")
    return cursor


def draft_of(author: Author, message: pb.ChatMessage, room: str = "") -> Draft:
    """What the author says with a message.

    Args:
        author: Who speaks.
        message: Sets of who speaks nothing, or the truth.
        room: The room of the stream, if it has one: the message may leave it out.

    Raises:
        InvalidArgument: naming each wrong field.
        PermissionDenied: NOT_YOURS.
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
    """The idempotency key, if there is one."""
    return check.text("idempotency_key", message.idempotency_key, most=MAX_KEY) or None


def require_own(author: Author, message: pb.ChatMessage) -> None:
    """Nobody, an admin neither, speaks in the name of another: raises PermissionDenied, NOT_YOURS."""
    if message.user_id not in (0, author.user_id):
        raise PermissionDenied("a user speaks for itself only", "NOT_YOURS", user_id=str(message.user_id))


def chat_message(message: Message) -> pb.ChatMessage:
    """The message as it goes over the wire."""
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
    """Somebody in a room: what others may know."""
    return user_pb2.User(id=author.user_id, name=author.name)
