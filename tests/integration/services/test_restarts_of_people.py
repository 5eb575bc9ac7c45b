"""Streaming methods of users, chat, notifications and audit logs while their service is restarted: see
`test_restarts`."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import (
    chat_pb2,
    notification_pb2,
    user_pb2,
)
from ecommerce.chat_pb2_grpc import ChatServiceStub
from ecommerce.common_pb2 import ListAuditLogRequest
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.payment_pb2_grpc import PaymentServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from services.kit import audit_record
from services.kit.audit_record import AuditRecord
from services.kit.db import Database
from tests.databases import Databases

from .replicakit import eventually, resumed
from .restartkit import (
    NOW,
    Code,
    Reader,
    Start,
    again,
    databases,
    reads_the_same_throughout,
    restarting,
    start,
)

__all__ = ["databases", "start"]  # fixtures


async def test_users_are_listed_whole(start: Start) -> None:
    user = await start("user")
    stub, admin = UserServiceStub(user.channel()), user.token(1, "alice", "admin")
    await stub.BatchCreateUsers(iter([_user(f"n{n}") for n in range(22)]), metadata=admin)

    def page(number: int) -> Any:
        return stub.ListUsers(user_pb2.ListUsersRequest(page=number, page_size=5), metadata=admin, timeout=10)

    await reads_the_same_throughout(user, page, 3 + 22)  # the seeded ones first


async def test_a_batch_of_users_that_is_sent_again_registers_once(start: Start) -> None:
    user = await start("user")
    stub, admin = UserServiceStub(user.channel()), user.token(1, "alice", "admin")

    async def requests(batch: int) -> AsyncIterator[user_pb2.CreateUserRequest]:
        for n in range(3):
            yield _user(f"b{batch}n{n}")
            await asyncio.sleep(0.01)

    async def register(batch: int) -> None:
        try:
            await stub.BatchCreateUsers(requests(batch), metadata=admin, timeout=10)
        except grpc.aio.AioRpcError as e:
            if e.code() is not Code.ALREADY_EXISTS:  # all of them: the answer was lost
                raise

    numbers = itertools.count()
    async with restarting(user) as restart:
        while not restart.over:
            batch = next(numbers)
            await again(lambda batch=batch: register(batch))
            restart.step()
    users = await Reader(
        lambda page: stub.ListUsers(user_pb2.ListUsersRequest(page=page, page_size=100), metadata=admin)
    ).everything()
    names = [u.name for u in users if u.name.startswith("b") and u.name != "bob"]
    assert names == [f"b{batch}n{n}" for batch in range(next(numbers)) for n in range(3)]


def _user(name: str) -> user_pb2.CreateUserRequest:
    return user_pb2.CreateUserRequest(name=name, email=f"{name}@example.com")


async def test_notifications_are_listed_whole(start: Start) -> None:
    notification = await start("notification")
    stub, admin = NotificationServiceStub(notification.channel()), notification.token(1, "alice", "admin")
    for n in range(25):
        kind = notification_pb2.NOTIFICATION_KIND_SYSTEM
        request = notification_pb2.NotificationRequest(user_id=2, kind=kind, title=str(n))
        await stub.SendNotification(request, metadata=admin)

    def page(number: int) -> Any:
        request = notification_pb2.ListNotificationsRequest(user_id=2, page=number, page_size=5)
        return stub.ListNotifications(request, metadata=admin, timeout=10)

    await reads_the_same_throughout(notification, page, 25)


async def test_the_history_of_a_room_is_read_whole(start: Start) -> None:
    chat = await start("chat")
    stub, bob = ChatServiceStub(chat.channel()), chat.token(2, "bob")
    said = [chat_pb2.ChatMessage(room_id="tea", text=str(n)) for n in range(25)]
    await stub.SendMessage(iter(said), metadata=bob)

    def page(number: int) -> Any:
        request = chat_pb2.GetRoomHistoryRequest(room_id="tea", page=number, page_size=5)
        return stub.GetRoomHistory(request, metadata=bob, timeout=10)

    await reads_the_same_throughout(chat, page, 25)


async def test_who_stays_in_a_room_is_online_at_the_new_replicas(start: Start) -> None:
    chat = await start("chat")
    stub, bob, charlie = ChatServiceStub(chat.channel()), chat.token(2, "bob"), chat.token(3, "charlie")

    def join(after: int) -> Any:
        request = chat_pb2.JoinRoomRequest(room_id="tea", after_cursor=after)
        return stub.JoinRoom(request, metadata=bob, timeout=60)

    async def online() -> list[str]:
        call = stub.GetOnlineUsers(
            chat_pb2.GetOnlineUsersRequest(room_id="tea"), metadata=charlie, timeout=10
        )
        return [user.name async for user in call]

    async def is_online() -> bool:
        return await again(online) == ["bob"]

    staying = asyncio.create_task(resumed(join, [], 1))
    try:
        await eventually(is_online)
        async with restarting(chat) as restart:
            while not restart.over:
                assert await again(online) in (["bob"], [])  # on the way from one replica to the next
                restart.step()
        await eventually(is_online)
    finally:
        staying.cancel()


_STUBS: Mapping[str, Any] = {
    "notification": NotificationServiceStub,
    "order": OrderServiceStub,
    "payment": PaymentServiceStub,
    "product": ProductServiceStub,
    "user": UserServiceStub,
}


@pytest.mark.parametrize("service", _STUBS)
async def test_an_audit_log_is_listed_whole(start: Start, databases: Databases, service: str) -> None:
    running = await start(service)
    stub, admin = _STUBS[service](running.channel()), running.token(1, "alice", "admin")
    async with Database.open(databases.url(service), service) as db:
        entries = [
            AuditRecord(int(NOW), 1, "", "Test", "thing", str(n), "").row(audit_record.OK) for n in range(25)
        ]
        await db.write(lambda c: c.execute(sa.insert(audit_record.table), entries))
    newest: int = (await anext(aiter(stub.ListAuditLog(ListAuditLogRequest(), metadata=admin)))).id

    def page(number: int) -> Any:
        # It goes on by ids, which here have no gaps.
        request = ListAuditLogRequest(before=newest + 1 - 5 * (number - 1), page_size=5)
        return stub.ListAuditLog(request, metadata=admin, timeout=10)

    await reads_the_same_throughout(running, page, 25)


async def test_letters_are_listed_whole(start: Start) -> None:
    notification = await start("notification")
    user = NotificationServiceStub(notification.channel(workload="user"))
    operator = NotificationServiceStub(notification.channel())
    for n in range(25):
        letter = notification_pb2.SendMailRequest(
            user_id=2, to="somebody@example.com", subject="s", body="b", event_id=f"letter-{n}"
        )
        await user.SendMail(letter, timeout=10)

    def page(number: int) -> Any:
        # It has one page; the next is empty.
        to = "somebody@example.com" if number == 1 else "nobody@example.com"
        return operator.ListMail(notification_pb2.ListMailRequest(to=to, page_size=100), timeout=10)

    await reads_the_same_throughout(notification, page, 25)
