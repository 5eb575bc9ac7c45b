"""Implements ChatService over the use cases."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from ecommerce import chat_pb2 as pb
from ecommerce import chat_pb2_grpc, common_pb2, user_pb2
from google.protobuf import empty_pb2

from grpcmesh.call import current_principal
from grpcmesh.errors import Unauthenticated
from services.chat.domain import MAX_NAME, Author
from services.chat.presence import Presence
from services.chat.rooms import Rooms
from services.chat.talk import Talk
from services.chat.wire import chat_message, cursor_of, draft_of, room_of, user_message
from services.kit.caller import require_workload
from services.kit.paging import Listing
from services.kit.validation import checking


class ChatServicer(chat_pb2_grpc.ChatServiceServicer):
    """Converts protobuf messages and calls the use cases. The author is always the user of the token.

    Args:
        rooms: The use cases.
        presence: The users in each room.
    """

    def __init__(self, rooms: Rooms, presence: Presence) -> None:
        self._rooms, self._presence = rooms, presence

    async def JoinRoom(self, request: pb.JoinRoomRequest, context: Any) -> AsyncIterator[pb.ChatMessage]:
        author = _author()
        with checking() as check:
            room = room_of(check, request.room_id)
            after = cursor_of(check, "after_cursor", request.after_cursor)
        async with self._presence.staying(room, author):
            after = after or await self._rooms.latest(room)
            # The metadata tells the client that it has joined: later messages will arrive.
            await context.send_initial_metadata(())
            async with aclosing(self._rooms.follow(room, after)) as messages:
                async for message in messages:
                    yield chat_message(message)

    async def SendMessage(
        self, request_iterator: AsyncIterator[pb.ChatMessage], context: Any
    ) -> empty_pb2.Empty:
        author = _author()
        async for request in request_iterator:
            await self._rooms.post(draft_of(author, request))
        return empty_pb2.Empty()

    async def EraseUser(self, request: common_pb2.EraseUserRequest, context: Any) -> empty_pb2.Empty:
        require_workload("user")
        with checking() as check:
            user_id = check.id("user_id", request.user_id)
        await self._rooms.erase_author(user_id)
        return empty_pb2.Empty()

    async def GetRoomHistory(
        self, request: pb.GetRoomHistoryRequest, context: Any
    ) -> AsyncIterator[pb.ChatMessage]:
        _author()
        with checking() as check:
            room = room_of(check, request.room_id)
            listing = Listing("messages", room)
            page = listing.page(check, request)
        for item in listing.items(context, await self._rooms.history(room, page)):
            yield chat_message(item)

    async def GetOnlineUsers(
        self, request: pb.GetOnlineUsersRequest, context: Any
    ) -> AsyncIterator[user_pb2.User]:
        _author()
        with checking() as check:
            room = room_of(check, request.room_id)
        async for author in self._presence.online(room):
            yield user_message(author)

    async def Chat(
        self, request_iterator: AsyncIterator[pb.ChatMessage], context: Any
    ) -> AsyncIterator[pb.ChatMessage]:
        author = _author()
        first = await anext(request_iterator, None)
        if first is None:
            return
        with checking() as check:
            room = room_of(check, first.room_id)
            after = cursor_of(check, "cursor", first.cursor)
        async with self._presence.staying(room, author):
            talk = Talk(self._rooms, room, author, after or await self._rooms.latest(room))
            await context.send_initial_metadata(())
            if first.text:  # without, it only joins
                await talk.say(first)
            async with aclosing(talk.run(request_iterator)) as messages:
                async for message in messages:
                    yield chat_message(message)


def _author() -> Author:
    principal = current_principal()
    if principal is None:
        raise Unauthenticated("a token is needed")
    return Author(principal.user_id, principal.name[:MAX_NAME])
