"""Serves one bidirectional stream: posts what the user sends, and yields the room's messages."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import TypeVar

from ecommerce import chat_pb2 as pb

from services.chat.domain import Author, Message
from services.chat.rooms import Rooms
from services.chat.wire import draft_of
from services.kit.follow import remaining

T = TypeVar("T")


class Talk:
    """A user's conversation in a room.

    Args:
        rooms: The use cases.
        room: The room's id.
        author: The user.
        after: The cursor after which to follow the room.
    """

    def __init__(self, rooms: Rooms, room: str, author: Author, after: int) -> None:
        self._rooms, self._room, self._author = rooms, room, author
        self._seen, self._said = after, 0

    async def run(self, requests: AsyncIterator[pb.ChatMessage]) -> AsyncGenerator[Message, None]:
        """Yield every message of the room. When the user's requests end, go on up to its last message.

        Raises:
            MeshError: a request was refused; the requests before it were posted.
        """
        async with _running(self._speak(requests)) as speaking:
            async with aclosing(self._listen(speaking)) as messages:
                async for message in messages:
                    yield message
            await speaking

    async def say(self, request: pb.ChatMessage) -> None:
        """Post one message."""
        self._said = (await self._rooms.post(draft_of(self._author, request, self._room))).cursor

    async def _speak(self, requests: AsyncIterator[pb.ChatMessage]) -> None:
        async for request in requests:
            await self.say(request)

    async def _listen(self, speaking: "asyncio.Task[None]") -> AsyncGenerator[Message, None]:
        async with aclosing(self._rooms.follow(self._room, self._seen)) as messages:
            while (message := await _unless_done(speaking, messages.__anext__)) is not None:
                self._seen = message.cursor
                yield message
        if self._seen < self._said:
            async with aclosing(remaining(self._seen, self._since)) as rest:
                async for message in rest:
                    yield message
                    if message.cursor >= self._said:
                        return

    async def _since(self, cursor: int, limit: int) -> list[Message]:
        return list(await self._rooms.since(self._room, cursor, limit))


@asynccontextmanager
async def _running(work: Awaitable[T]) -> "AsyncIterator[asyncio.Task[T]]":
    """Run the work as a task that ends with the block."""
    task = asyncio.ensure_future(work)
    assert isinstance(task, asyncio.Task)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)  # whoever wanted its result has it


async def _unless_done(speaking: "asyncio.Task[None]", following: Callable[[], Awaitable[T]]) -> T | None:
    """Return the next item, or None once the user's requests have ended."""
    if speaking.done():
        return None
    async with _running(following()) as task:
        await asyncio.wait({task, speaking}, return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
