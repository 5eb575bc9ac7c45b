"""Streams of real processes: replicas are restarted and killed, and nobody misses or hears twice a thing."""

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from ecommerce import analytics_pb2, chat_pb2
from ecommerce.analytics_pb2_grpc import AnalyticsServiceStub
from ecommerce.chat_pb2_grpc import ChatServiceStub

from meshmart.operator import join
from tests.integration.services.replicakit import eventually, resumed

from .conftest import RunningCluster

AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED)
#: Seconds that a call may take, and all of them, on a machine with other work.
TIMEOUT, PATIENCE = 60.0, 600.0
#: What happens to the replicas meanwhile.
TROUBLE = (["restart", "chat"], ["kill", "chat/1"], ["restart", "analytics"], ["kill", "analytics/2"])
#: The start of this minute.
BEGIN = int(time.time()) // 60 * 60
Meshmart = Callable[..., str]


async def test_chat_and_figures_survive_a_rolling_restart_and_a_kill(cluster: RunningCluster) -> None:
    await survive(cluster.state_dir, cluster.meshmart)


async def survive(state_dir: Path, meshmart: Meshmart) -> None:
    """One room and one metric, told and followed while their replicas go."""
    bob, alice = (_bearer(meshmart("token", "--user", name)) for name in ("bob", "alice"))
    heard, seen = list[chat_pb2.ChatMessage](), list[analytics_pb2.Metric]()
    room, total = f"e2e-{os.urandom(4).hex()}", 300
    async with join(state_dir) as joined, asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        chat, analytics = (joined.member.channel(name) for name in ("chat", "analytics"))
        chat_stub, analytics_stub = ChatServiceStub(chat), AnalyticsServiceStub(analytics)

        def listen(after: int) -> Any:
            request = chat_pb2.JoinRoomRequest(room_id=room, after_cursor=after)
            return chat_stub.JoinRoom(request, metadata=alice)

        def watch(after: int) -> Any:
            request = analytics_pb2.StreamMetricsRequest(names=["cart_changes"], after_cursor=after)
            return analytics_stub.StreamMetrics(request, metadata=alice)

        async def say(number: int) -> None:
            said = chat_pb2.ChatMessage(room_id=room, text=str(number), idempotency_key=f"{room}-{number}")
            await _again(lambda: chat_stub.SendMessage(iter([said]), metadata=bob, timeout=5))

        async def tell(number: int) -> None:
            event = analytics_pb2.EventRequest(event_id=f"{room}-{number}", kind="EVENT_KIND_CART_CHANGED")
            event.timestamp.FromSeconds(BEGIN - 60 * number)  # a minute each: none replaces another
            await _again(lambda: analytics_stub.TrackEvents(iter([event, event]), timeout=5))

        async def talk(numbers: range) -> None:
            for number in numbers:
                await asyncio.gather(say(number), tell(number))
                await asyncio.sleep(0.08)

        await say(0)
        await tell(0)
        last = await analytics_stub.GetMetrics(
            analytics_pb2.GetMetricsRequest(name="cart_changes"), metadata=alice, timeout=TIMEOUT
        )
        following = [
            group.create_task(resumed(listen, heard, total, 1)),
            group.create_task(resumed(watch, seen, total, max(m.cursor for m in last.metrics))),
        ]
        part = total // (len(TROUBLE) + 1)
        for at, arguments in enumerate([*TROUBLE, []]):
            # The streams go on until the last part, however long a restart takes.
            trouble = asyncio.to_thread(meshmart, *arguments) if arguments else asyncio.sleep(0, "")
            await asyncio.gather(trouble, talk(range(1 + at * part, 1 + (at + 1) * part)))
    assert [m.text for m in heard] == [str(n) for n in range(1, total + 1)]
    assert [m.cursor for m in heard] == list(range(2, total + 2))
    assert [m.timestamp.seconds for m in seen] == [BEGIN - 60 * n for n in range(1, total + 1)]
    assert len({m.cursor for m in seen}) == total
    assert all(stream.result() for stream in following), "a stream did not have to resume"


async def test_who_was_at_a_killed_replica_is_not_online_for_long(cluster: RunningCluster) -> None:
    await expire(cluster.state_dir, cluster.meshmart)


async def expire(state_dir: Path, meshmart: Meshmart) -> None:
    """Somebody joins at a replica, which is killed; the others tell that nobody is there, soon."""
    bob, room = _bearer(meshmart("token", "--user", "bob")), f"e2e-{os.urandom(4).hex()}"
    async with join(state_dir) as joined:
        stub = ChatServiceStub(joined.member.channel("chat"))
        stream: Any = stub.JoinRoom(chat_pb2.JoinRoomRequest(room_id=room), metadata=bob)
        await stream.initial_metadata()

        async def online() -> list[str]:
            request = chat_pb2.GetOnlineUsersRequest(room_id=room)
            return [user.name async for user in stub.GetOnlineUsers(request, metadata=bob, timeout=TIMEOUT)]

        async def empty() -> bool:
            return await online() == []

        assert await online() == ["bob"]
        victim = (await joined.replica_names())[str(stream.endpoint)]
        await asyncio.to_thread(meshmart, "kill", victim)
        await eventually(empty)


async def _again(make: Callable[[], Any]) -> None:
    """What a client repeats: with its key, that is safe."""
    while True:
        try:
            await make()
            return
        except grpc.aio.AioRpcError as e:
            if e.code() not in AGAIN:
                raise
            await asyncio.sleep(0.05)


def _bearer(token: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {token.strip()}"),)
