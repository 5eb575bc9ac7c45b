"""Streams of the chat: slow readers, and replicas that leave."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import chat_pb2 as pb
from ecommerce.chat_pb2_grpc import ChatServiceStub

from services.chat.storage import SqlStore
from services.chat.tables import messages as messages_table
from services.chat.tables import rooms
from services.kit.db import Database

from .chatkit import Person, chat, clock, url
from .replicakit import Fleet, eventually, resumed

__all__ = ["chat", "clock", "url"]  # fixtures
Code = grpc.StatusCode


async def test_a_reader_that_stands_still_holds_little_however_much_is_said(
    chat: Fleet, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    total, read, since = 1000, list[int](), SqlStore.since

    async def counted(self: SqlStore, room: str, cursor: int, limit: int) -> Any:
        found = await since(self, room, cursor, limit)
        read.append(len(found))
        return found

    monkeypatch.setattr(SqlStore, "since", counted)
    # The client's window is fixed. Otherwise it grows with gRPC's estimate of the bandwidth-delay product, on
    # a slow machine to all of the 8 MB.
    channel = chat.channel(chat.replicas[:1], options=[("grpc.http2.bdp_probe", 0)])
    stub: Any = ChatServiceStub(channel)
    stream = stub.JoinRoom(pb.JoinRoomRequest(room_id="tea"), metadata=chat.token(2, "bob"), timeout=300)
    await stream.initial_metadata()
    said = {"room": "tea", "user_id": 3, "user_name": "c", "text": "\N{MUSICAL SYMBOL G CLEF}" * 2000}

    def say_all(connection: sa.Connection) -> None:
        connection.execute(sa.insert(rooms), {"id": "tea", "cursor": total})
        rows = [said | {"cursor": n, "sent_at": time.time()} for n in range(1, total + 1)]
        connection.execute(sa.insert(messages_table), rows)

    async with Database.open(url, "chat") as db:
        await db.write(say_all)

    async def stands_still() -> bool:
        before = sum(read)
        await asyncio.sleep(1)
        return 0 < before == sum(read)

    await eventually(stands_still, 30)
    assert sum(read) < 0.75 * total
    assert [(await stream.read()).cursor for _ in range(total)] == list(range(1, total + 1))
    stream.cancel()


async def test_streams_survive_a_rolling_restart_with_nothing_lost_or_doubled(chat: Fleet) -> None:
    bob, charlie = Person(chat, 2, "bob"), Person(chat, 3, "charlie")
    total, heard, talked = 150, list[pb.ChatMessage](), list[pb.ChatMessage]()

    def join(after: int) -> Any:
        request = pb.JoinRoomRequest(room_id="tea", after_cursor=after)
        return bob.stub.JoinRoom(request, metadata=bob.metadata, timeout=60)

    def listen(after: int) -> Any:
        return _Held(charlie.stub.Chat(metadata=charlie.metadata, timeout=60), after)

    replaced = asyncio.Event()

    async def speak() -> None:
        for n in range(total):
            if n == total - 20:
                await replaced.wait()  # nobody has heard all before its replica leaves
            while True:
                try:
                    await charlie.say(str(n), key=f"key-{n}")
                    break
                except grpc.aio.AioRpcError as e:
                    if e.code() not in (Code.UNAVAILABLE, Code.CANCELLED):
                        raise
            await asyncio.sleep(0.01)

    await charlie.say("begin")
    async with asyncio.timeout(150), asyncio.TaskGroup() as group:
        ends = [
            group.create_task(resumed(join, heard, total, 1)),
            group.create_task(resumed(listen, talked, total, 1)),
        ]
        speaking = group.create_task(speak())

        async def both_hear() -> bool:
            return bool(heard and talked)

        await eventually(both_hear)  # from replicas that will leave
        for old in list(chat.replicas):
            await asyncio.sleep(0.4)
            await chat.start()
            await chat.leave(old)
        replaced.set()
        await speaking
    for messages_ in (heard, talked):
        assert [m.cursor for m in messages_] == list(range(2, total + 2))
        assert [m.text for m in messages_] == [str(n) for n in range(total)]
    assert all(end.result() for end in ends)  # they did have to resume


class _Held:
    """A Chat whose user listens and says nothing."""

    def __init__(self, call: Any, after: int) -> None:
        self._call, self._after = call, after

    async def __aiter__(self) -> AsyncIterator[pb.ChatMessage]:
        await self._call.write(pb.ChatMessage(room_id="tea", cursor=self._after))
        async for message in self._call:
            yield message

    def cancel(self) -> None:
        self._call.cancel()


async def test_a_chat_under_way_is_told_to_resume_and_each_message_taken_is_said_once(chat: Fleet) -> None:
    bob = Person(chat, 2, "bob", 0)
    call, heard = bob.stub.Chat(metadata=bob.metadata, timeout=30), list[str]()
    await call.write(pb.ChatMessage(room_id="tea", text="0", idempotency_key="0"))

    async def write() -> None:
        for n in range(1, 1000):
            try:
                await call.write(pb.ChatMessage(text=str(n), idempotency_key=str(n)))
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError, grpc.aio.UsageError):
                return

    async def read() -> None:
        async for message in call:
            heard.append(message.text)

    writing, reading = asyncio.create_task(write()), asyncio.create_task(read())
    await asyncio.sleep(0.2)
    await chat.leave(chat.replicas[0])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await reading
    await writing
    assert caught.value.code() is Code.UNAVAILABLE
    assert heard == [str(n) for n in range(len(heard))]
    said = await _everything(Person(chat, 2, "bob"))
    assert said[: len(heard)] == heard
    assert said == [str(n) for n in range(len(said))]


async def _everything(person: Person) -> list[str]:
    said, page = list[str](), 1
    while found := await person.history(page=page, page_size=100):
        said += [m.text for m in found]
        page += 1
    return said
