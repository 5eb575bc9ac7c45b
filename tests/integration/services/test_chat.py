import asyncio
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import chat_pb2 as pb
from ecommerce.chat_pb2_grpc import ChatServiceStub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.chat import storage
from services.chat.presence import TTL
from services.chat.tables import presence as presence_table
from services.kit.db import Database

from .chatkit import Ahead, Person, chat, clock, url
from .replicakit import Fleet, eventually
from .shopkit import messages, refused

__all__ = ["chat", "clock", "url"]  # fixtures
Code = grpc.StatusCode


async def test_who_has_joined_at_one_replica_hears_what_is_said_at_another(chat: Fleet) -> None:
    bob, charlie = Person(chat, 2, "bob", 0), Person(chat, 3, "charlie", 1)
    await charlie.say("before")
    stream = await bob.join()
    await charlie.say("hello", "again")
    heard = [await stream.read(), await stream.read()]
    assert [(m.text, m.user_id, m.user_name, m.room_id, m.cursor) for m in heard] == [
        ("hello", 3, "charlie", "tea", 2),
        ("again", 3, "charlie", "tea", 3),
    ]
    assert heard[0].sent_at.seconds > 0
    assert heard[0].id != heard[1].id
    stream.cancel()
    resumed_stream = await charlie.join(after=1)
    assert [(await resumed_stream.read()).text for _ in range(2)] == ["hello", "again"]
    resumed_stream.cancel()


async def test_history_is_paged_oldest_first_and_each_room_has_its_own(chat: Fleet) -> None:
    bob = Person(chat, 2, "bob")
    await bob.say(*"abcde")
    await bob.say("x", room="other.room_1-2")
    assert [m.text for m in await bob.history()] == list("abcde")
    assert [m.text for m in await bob.history(page=2, page_size=2)] == ["c", "d"]
    assert [m.cursor for m in await bob.history(page=3, page_size=2)] == [5]
    assert [m.cursor for m in await bob.history("other.room_1-2")] == [1]
    assert await bob.history("never-spoken-in") == []


async def test_a_key_is_said_once_whoever_else_has_it(chat: Fleet) -> None:
    bob, charlie = Person(chat, 2, "bob", 0), Person(chat, 3, "charlie", 1)
    again = Person(chat, 2, "bob", 1)
    await asyncio.gather(*(who.say("hi", key="k") for who in (bob, again, charlie) for _ in range(4)))
    assert sorted(m.user_id for m in await bob.history()) == [2, 3]
    await bob.say("hi", key="k", room="other")
    assert len(await bob.history("other")) == 1
    stolen = await refused(
        bob.stub.SendMessage(
            iter([pb.ChatMessage(room_id="tea", text="no", idempotency_key="k")]), metadata=bob.metadata
        )
    )
    assert (stolen.code, stolen.reason) == (Code.FAILED_PRECONDITION, "KEY_REUSED")
    assert [m.cursor for m in await bob.history()] == [1, 2]


async def test_a_chat_joins_and_talks_on_one_stream(chat: Fleet) -> None:
    bob, charlie = Person(chat, 2, "bob", 0), Person(chat, 3, "charlie", 1)
    calls: list[Any] = [who.stub.Chat(metadata=who.metadata, timeout=30) for who in (bob, charlie)]
    one, two = calls
    await one.write(pb.ChatMessage(room_id="tea"))  # only joins
    await one.initial_metadata()
    await two.write(pb.ChatMessage(room_id="tea", text="hello"))
    assert [(m.text, m.user_name) for m in (await one.read(), await two.read())] == [("hello", "charlie")] * 2
    await one.write(pb.ChatMessage(text="and to you", user_name="somebody else"))
    assert [(m.text, m.user_name) for m in (await one.read(), await two.read())] == [
        ("and to you", "bob")
    ] * 2
    for call in (one, two):
        await call.done_writing()
        assert await call.read() is grpc.aio.EOF
    assert await one.code() is Code.OK


async def test_a_chat_that_is_told_all_at_once_is_answered_with_all_of_it(chat: Fleet) -> None:
    bob = Person(chat, 2, "bob")
    said = [pb.ChatMessage(room_id="tea", text=str(n)) for n in range(50)]
    answers = [m.text async for m in bob.stub.Chat(iter(said), metadata=bob.metadata, timeout=30)]
    assert answers == [str(n) for n in range(50)]
    resuming = [pb.ChatMessage(room_id="tea", cursor=48), pb.ChatMessage(text="last")]
    answers = [m.text async for m in bob.stub.Chat(iter(resuming), metadata=bob.metadata, timeout=30)]
    assert answers == ["48", "49", "last"]
    assert [m async for m in bob.stub.Chat(iter([]), metadata=bob.metadata, timeout=30)] == []


async def test_what_was_said_before_a_bad_message_of_a_chat_is_said(chat: Fleet) -> None:
    bob = Person(chat, 2, "bob")
    said = [pb.ChatMessage(room_id="tea", text="good"), pb.ChatMessage(text=" ")]
    call: Any = bob.stub.Chat(iter(said), metadata=bob.metadata, timeout=30)
    assert (await call.read()).text == "good"
    assert (await refused(call.read())).code is Code.INVALID_ARGUMENT
    assert [m.text for m in await bob.history()] == ["good"]


@pytest.mark.parametrize(
    ("message", "fields"),
    [
        (pb.ChatMessage(text="x"), {"room_id"}),
        (pb.ChatMessage(room_id="-x", text="x"), {"room_id"}),
        (pb.ChatMessage(room_id="x" * 65, text="x"), {"room_id"}),
        (pb.ChatMessage(room_id="tea\n", text="x"), {"room_id"}),
        (pb.ChatMessage(room_id="té", text="x"), {"room_id"}),
        (pb.ChatMessage(room_id="tea"), {"text"}),
        (pb.ChatMessage(room_id="tea", text="\0"), {"text"}),
        (pb.ChatMessage(room_id="tea", text="x" * 2001), {"text"}),
        (pb.ChatMessage(text=" ", idempotency_key="k" * 101), {"room_id", "text", "idempotency_key"}),
    ],
)
async def test_every_wrong_field_of_a_message_is_named(
    chat: Fleet, message: pb.ChatMessage, fields: set[str]
) -> None:
    bob = Person(chat, 2, "bob")
    refusal = await refused(bob.stub.SendMessage(iter([message]), metadata=bob.metadata))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, frozenset(fields))


async def test_every_wrong_request_is_refused_by_its_field(chat: Fleet) -> None:
    bob = Person(chat, 2, "bob")
    calls = [
        (
            bob.stub.JoinRoom(pb.JoinRoomRequest(after_cursor=-1), metadata=bob.metadata),
            {"room_id", "after_cursor"},
        ),
        (
            bob.stub.GetRoomHistory(
                pb.GetRoomHistoryRequest(room_id="/", page=-1, page_size=-1), metadata=bob.metadata
            ),
            {"room_id", "page", "page_size"},
        ),
        (bob.stub.GetOnlineUsers(pb.GetOnlineUsersRequest(), metadata=bob.metadata), {"room_id"}),
        (
            bob.stub.Chat(iter([pb.ChatMessage(text="x", cursor=-1)]), metadata=bob.metadata),
            {"room_id", "cursor"},
        ),
        (
            bob.stub.Chat(
                iter([pb.ChatMessage(room_id="a"), pb.ChatMessage(room_id="b", text="x")]),
                metadata=bob.metadata,
            ),
            {"room_id"},
        ),
    ]
    for call, fields in calls:
        refusal = await refused(call)
        assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, frozenset(fields))


async def test_nobody_speaks_without_a_token_or_in_the_name_of_another(chat: Fleet) -> None:
    bob, stub = Person(chat, 2, "bob"), ChatServiceStub(chat.channel())
    said = pb.ChatMessage(room_id="tea", text="x", user_id=3)
    for call in (bob.stub.SendMessage, bob.stub.Chat):
        refusal = await refused(call(iter([said]), metadata=bob.metadata))
        assert (refusal.code, refusal.reason) == (Code.PERMISSION_DENIED, "NOT_YOURS")
    for anonymous in (
        stub.SendMessage(iter([said])),
        stub.Chat(iter([said])),
        stub.JoinRoom(pb.JoinRoomRequest(room_id="tea")),
        stub.GetRoomHistory(pb.GetRoomHistoryRequest(room_id="tea")),
        stub.GetOnlineUsers(pb.GetOnlineUsersRequest(room_id="tea")),
    ):
        assert (await refused(anonymous)).code is Code.UNAUTHENTICATED
    product = ChatServiceStub(chat.channel(workload="product"))
    denied = await refused(product.SendMessage(iter([said]), metadata=bob.metadata))
    assert denied.code is Code.PERMISSION_DENIED


async def test_rooms_are_bounded(chat: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "MAX_ROOMS", 1)
    bob = Person(chat, 2, "bob")
    await bob.say("x", "y")
    refusal = await refused(
        bob.stub.SendMessage(iter([pb.ChatMessage(room_id="two", text="x")]), metadata=bob.metadata)
    )
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "TOO_MANY_ROOMS")
    await bob.say("z")
    assert len(await bob.history()) == 3


async def test_who_is_in_a_room_is_known_at_every_replica_until_the_stream_ends(chat: Fleet) -> None:
    bob, charlie = Person(chat, 2, "bob", 0), Person(chat, 3, "charlie", 1)
    streams = [await bob.join(), await bob.join(), await charlie.join(), await charlie.join("other")]
    for who in (bob, charlie):
        assert await who.online() == [(2, "bob"), (3, "charlie")]
    streams[0].cancel()
    streams[2].cancel()

    async def gone() -> bool:
        return await bob.online() == [(2, "bob")]

    await eventually(gone)
    assert await bob.online("other") == [(3, "charlie")]


async def test_who_was_at_a_replica_that_died_is_gone_when_its_word_expires(
    chat: Fleet, url: str, clock: Ahead
) -> None:
    bob, charlie = Person(chat, 2, "bob", 0), Person(chat, 3, "charlie", 1)
    streams = [await bob.join(), await charlie.join()]
    for _ in range(3):  # spoken for, beyond the TTL
        clock.ahead += TTL / 2
        await refreshed(url, 2, clock())
        assert await charlie.online() == [(2, "bob"), (3, "charlie")]
    dead = chat.replicas[0].resources  # nobody speaks for its streams any more, nor strikes them out
    await dead.aclose()
    clock.ahead += TTL / 2
    await refreshed(url, 1, clock())
    clock.ahead += TTL / 2 + 1

    async def alone() -> bool:
        return await charlie.online() == [(3, "charlie")]

    await eventually(alone)
    for stream in streams:
        stream.cancel()


async def refreshed(url: str, count: int, since: float) -> None:
    """Wait until so many streams have been spoken for since then."""

    def lasting(connection: sa.Connection) -> int:
        query = sa.select(sa.func.count()).where(presence_table.c.expires_at >= since + TTL)
        return int(connection.execute(query).scalar_one())

    async with Database.open(url, "chat") as db:

        async def done() -> bool:
            return await db.read(lasting) == count

        await eventually(done)


_METHODS = {
    "JoinRoom": pb.JoinRoomRequest,
    "SendMessage": pb.ChatMessage,
    "GetRoomHistory": pb.GetRoomHistoryRequest,
    "GetOnlineUsers": pb.GetOnlineUsersRequest,
    "Chat": pb.ChatMessage,
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(chat: Fleet, method: str) -> None:
    loop, bob = asyncio.get_running_loop(), Person(chat, 2, "bob")
    incoming = method in ("SendMessage", "Chat")
    one = messages(_METHODS[method])

    async def call(requests: list[Any]) -> None:
        timeout = 0.1 if method == "JoinRoom" else 10
        request: Any = iter(requests) if incoming else requests[0]
        pending: Any = getattr(bob.stub, method)(request, metadata=bob.metadata, timeout=timeout)
        try:
            if hasattr(pending, "__aiter__"):
                async for _ in pending:
                    pass
            else:
                await pending
        except grpc.aio.AioRpcError as e:
            # grpcio's client says INTERNAL itself, without our status, where it is still sending as it comes.
            ours = e.details() != "Internal error from Core"
            if ours and e.code() in (Code.UNKNOWN, Code.INTERNAL):
                raise

    @settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests=st.lists(one, min_size=0 if incoming else 1, max_size=3))
    def check(requests: list[Any]) -> None:
        asyncio.run_coroutine_threadsafe(call(requests), loop).result(20)

    await asyncio.to_thread(check)
