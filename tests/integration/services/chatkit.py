"""Chat with two replicas, and those who speak there."""

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from ecommerce import chat_pb2 as pb
from ecommerce.chat_pb2_grpc import ChatServiceStub, add_ChatServiceServicer_to_server

from grpcmesh.server.server import MeshServer
from services.chat.presence import Presence, leaving
from services.chat.rooms import Rooms
from services.chat.servicer import ChatServicer
from services.chat.storage import SqlAttendance, SqlStore
from services.kit.background import repeating
from services.kit.db import Database
from services.kit.following import following
from tests.databases import Maker

from .replicakit import Fleet, fleet

Code = grpc.StatusCode


@pytest.fixture
def url(new_databases: Maker) -> str:
    return new_databases("chat").url("chat")


class Ahead:
    """Unix seconds as the replicas know them: as many more than there are as a test says."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock() -> Ahead:
    return Ahead()


@pytest.fixture
async def chat(url: str, clock: Ahead, tmp_path: Path) -> AsyncIterator[Fleet]:
    async def make(resources: AsyncExitStack, server: MeshServer) -> None:
        db = await resources.enter_async_context(Database.open(url, "chat"))
        rooms, presence = Rooms(SqlStore(db), time.time), Presence(SqlAttendance(db), clock)
        add_ChatServiceServicer_to_server(ChatServicer(rooms, presence), server)
        await resources.enter_async_context(following(db, "rooms", rooms, str))
        await resources.enter_async_context(leaving(presence))
        await resources.enter_async_context(repeating(presence.keep, 0.05, "presence"))

    async with fleet("chat", tmp_path, make) as made:
        yield made


class Person:
    """A user with a stub."""

    def __init__(self, chat: Fleet, user_id: int, name: str, replica: int | None = None) -> None:
        self.id, self.metadata = user_id, chat.token(user_id, name)
        self.stub = ChatServiceStub(chat.channel([] if replica is None else [chat.replicas[replica]]))

    async def say(self, *texts: str, room: str = "tea", key: str = "") -> None:
        said = [pb.ChatMessage(room_id=room, text=text, idempotency_key=key) for text in texts]
        await self.stub.SendMessage(iter(said), metadata=self.metadata, timeout=10)

    async def join(self, room: str = "tea", after: int = 0) -> Any:
        request = pb.JoinRoomRequest(room_id=room, after_cursor=after)
        call = self.stub.JoinRoom(request, metadata=self.metadata, timeout=60)
        await call.initial_metadata()
        return call

    async def history(self, room: str = "tea", **page: int) -> list[pb.ChatMessage]:
        request = pb.GetRoomHistoryRequest(room_id=room, **page)
        return [m async for m in self.stub.GetRoomHistory(request, metadata=self.metadata, timeout=10)]

    async def online(self, room: str = "tea") -> list[tuple[int, str]]:
        call = self.stub.GetOnlineUsers(pb.GetOnlineUsersRequest(room_id=room), metadata=self.metadata)
        return [(user.id, user.name) async for user in call]
