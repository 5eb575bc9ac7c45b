"""Every streaming method while its service is restarted: two replicas, both replaced in the middle.

What follows something is resumed by its cursor. What is finite is read page by page, again where it was cut.
What takes a stream is sent again, under its keys where it has any, until it is answered.
"""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import (
    analytics_pb2,
    chat_pb2,
    notification_pb2,
    order_pb2,
    payment_pb2,
    product_pb2,
    user_pb2,
)
from ecommerce.chat_pb2_grpc import ChatServiceStub
from ecommerce.common_pb2 import ListAuditLogRequest
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.payment_pb2_grpc import PaymentServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from ecommerce.user_pb2_grpc import UserServiceStub

from services.kit import deeds
from services.kit.db import Database
from services.kit.deeds import Deed
from services.loadgen.following import Following
from services.order.domain import Address, Line, Order
from services.order.storage import SqlStore as OrderStore
from tests.databases import Databases

from . import test_analytics, test_chat_streams, test_notification, test_payment_stream
from .replicakit import eventually, resumed
from .restartkit import (
    AGAIN,
    NOW,
    Code,
    Reader,
    Restart,
    Start,
    again,
    databases,
    reads_the_same_throughout,
    restarting,
    start,
)

__all__ = ["databases", "start"]  # fixtures


async def test_the_catalogue_is_listed_and_searched_whole(start: Start) -> None:
    product = await start("product")
    stub = ProductServiceStub(product.channel())

    def listed(page: int) -> Any:
        return stub.ListProducts(product_pb2.ListProductsRequest(page=page, page_size=10), timeout=10)

    def searched(page: int) -> Any:
        # A search has no pages: cut, it is made anew.
        query = "a" if page == 1 else "nothing is called that"
        return stub.SearchProducts(product_pb2.SearchProductsRequest(query=query), timeout=10)

    everything = len(await Reader(listed).everything())
    found = len(await Reader(searched).everything())
    assert found > 40
    await reads_the_same_throughout(product, listed, everything)
    await reads_the_same_throughout(product, searched, found)


async def test_the_ledger_of_a_product_is_listed_whole(start: Start) -> None:
    product = await start("product")
    stub, admin = ProductServiceStub(product.channel()), product.token(1, "alice", "admin")
    for _ in range(24):
        adjust = product_pb2.AdjustStockRequest(
            product_id=1, change=1, kind=product_pb2.STOCK_MOVEMENT_KIND_RECEIVE
        )
        await stub.AdjustStock(adjust, metadata=admin, timeout=10)

    def listed(page: int) -> Any:
        request = product_pb2.ListStockMovementsRequest(product_id=1, page=page, page_size=10)
        return stub.ListStockMovements(request, metadata=admin, timeout=10)

    await reads_the_same_throughout(product, listed, 25)


async def test_many_products_are_made_all_or_none_of_a_batch(start: Start) -> None:
    product = await start("product")
    stub, admin = ProductServiceStub(product.channel()), product.token(1, "alice", "admin")

    async def requests(batch: int) -> AsyncIterator[product_pb2.CreateProductRequest]:
        for n in range(3):
            yield product_pb2.CreateProductRequest(name=f"batch ({batch}) {n}", price=1)
            await asyncio.sleep(0.01)

    async def made(batch: int) -> int:
        request = product_pb2.SearchProductsRequest(query=f"batch ({batch})")
        return len([p async for p in stub.SearchProducts(request, timeout=10)])

    async def make(batch: int) -> None:
        # There is no key: whoever is not answered looks before it sends the batch again.
        while not await again(lambda: made(batch)):
            try:
                await stub.CreateProducts(requests(batch), metadata=admin, timeout=10)
            except grpc.aio.AioRpcError as e:
                assert e.code() in AGAIN  # noqa: PT017

    numbers = itertools.count()
    async with restarting(product) as restart:
        while not restart.over:
            await make(next(numbers))
            restart.step()
    for batch in range(next(numbers)):
        assert await made(batch) == 3


async def test_a_conversation_with_the_assistant_goes_on_elsewhere(start: Start) -> None:
    product = await start("product")
    stub = ProductServiceStub(product.channel())
    questions = ("cheapest book", "a keyboard", "something for running")
    answers: list[list[int]] = []
    ends = list[Code]()

    async def talk(restart: Restart) -> None:
        call = stub.ChatWithProducts(timeout=60)
        try:
            while not restart.over:
                question = questions[len(answers) % len(questions)]
                await call.write(chat_pb2.ChatMessage(text=question))
                answers.append(list((await call.read()).product_ids))
                restart.step()
        except grpc.aio.AioRpcError as e:
            ends.append(e.code())
        finally:
            call.cancel()

    async with restarting(product) as restart:
        while not restart.over:
            await talk(restart)
    assert all(answers)
    assert len({tuple(a) for a in answers}) == len(questions)
    assert [a for n, a in enumerate(answers) if a != answers[n % len(questions)]] == []
    assert set(ends) == {Code.UNAVAILABLE}


async def test_orders_are_listed_whole(start: Start, databases: Databases) -> None:
    order = await start("order")
    stub, bob = OrderServiceStub(order.channel()), order.token(2, "bob")
    async with Database.open(databases.url("order"), "order") as db:
        for _ in range(25):
            await OrderStore(db).create(_draft())

    def page(number: int) -> Any:
        request = order_pb2.ListOrdersRequest(user_id=2, page=number, page_size=5)
        return stub.ListOrders(request, metadata=bob, timeout=10)

    await reads_the_same_throughout(order, page, 25)


async def test_an_order_is_followed_with_nothing_lost_or_doubled(start: Start, databases: Databases) -> None:
    order = await start("order")
    stub, bob, seen = OrderServiceStub(order.channel()), order.token(2, "bob"), list[Any]()
    async with Database.open(databases.url("order"), "order") as db:
        store = OrderStore(db)
        changed, _ = await store.create(_draft())
        first = changed.version + 1

        def follow(after: int) -> Any:
            request = order_pb2.GetOrderRequest(id=changed.id, after_cursor=after)
            return stub.StreamOrderUpdates(request, metadata=bob, timeout=60)

        async def listen() -> None:
            async for update in following.messages():
                seen.append(update)

        async def all_seen() -> bool:
            return bool(seen) and seen[-1].cursor == changed.version

        following = Following(follow, changed.version)
        listening = asyncio.create_task(listen())
        try:
            async with restarting(order) as restart:
                while not restart.over:
                    changed = await store.save(replace(changed, updated_at=NOW), f"{changed.version}")
                    await eventually(all_seen)
                    restart.step()
            for _ in range(20):
                changed = await store.save(replace(changed, updated_at=NOW), f"{changed.version}")
            await eventually(all_seen)
        finally:
            listening.cancel()
    assert [update.cursor for update in seen] == list(range(first, changed.version + 1))
    assert [update.message for update in seen] == [str(n - 1) for n in range(first, changed.version + 1)]
    assert following.resumed


def _draft() -> Order:
    # Worked at by somebody else, for long enough that recovery leaves it alone.
    until = time.time() + 3600
    return Order(0, 2, (Line(1, 1),), Address(), None, True, NOW, NOW, until)


async def test_payments_are_listed_whole(start: Start) -> None:
    payment = await start("payment")
    stub, bob = PaymentServiceStub(payment.channel()), payment.token(2, "bob")
    for n in range(25):
        await stub.ProcessPayment(_payment(n), metadata=bob, timeout=10)

    def page(number: int) -> Any:
        request = payment_pb2.GetPaymentHistoryRequest(page=number, page_size=5)
        return stub.GetPaymentHistory(request, metadata=bob, timeout=10)

    await reads_the_same_throughout(payment, page, 25)


async def test_a_batch_of_payments_that_is_sent_again_pays_once(start: Start) -> None:
    payment = await start("payment")
    stub, bob = PaymentServiceStub(payment.channel()), payment.token(2, "bob")

    async def requests(batch: int) -> AsyncIterator[payment_pb2.PaymentRequest]:
        for n in range(3):
            yield _payment(3 * batch + n)
            await asyncio.sleep(0.01)

    async def pay(batch: int) -> payment_pb2.PaymentResponse:
        response: payment_pb2.PaymentResponse = await stub.ProcessPaymentStream(
            requests(batch), metadata=bob, timeout=10
        )
        return response

    numbers = itertools.count()
    async with restarting(payment) as restart:
        while not restart.over:
            batch = next(numbers)
            assert (await again(lambda batch=batch: pay(batch))).success
            assert (await again(lambda batch=batch: pay(batch))).success  # as if the answer had been lost
            restart.step()
    paid = await Reader(
        lambda page: stub.GetPaymentHistory(
            payment_pb2.GetPaymentHistoryRequest(page=page, page_size=100), metadata=bob
        )
    ).everything()
    assert sorted(p.order_id for p in paid) == list(range(1, 3 * next(numbers) + 1))
    assert {p.status for p in paid} == {payment_pb2.PAYMENT_STATUS_COMPLETED}


def _payment(number: int) -> payment_pb2.PaymentRequest:
    wallet = payment_pb2.DigitalWallet(wallet_id="bob", provider="meshmart")
    return payment_pb2.PaymentRequest(
        order_id=number + 1, amount=1.5, digital_wallet=wallet, idempotency_key=f"key-{number}"
    )


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
        entries = [Deed(int(NOW), 1, "", "Test", "thing", str(n), "").entry(deeds.OK) for n in range(25)]
        await db.write(lambda c: c.execute(sa.insert(deeds.table), entries))
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


#: By method: what shows how it stands a rolling restart of its two replicas.
SHOWN: Mapping[str, Any] = {
    "AnalyticsService.StreamMetrics": (
        test_analytics.test_a_stream_survives_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "AnalyticsService.TrackEvents": (
        test_analytics.test_a_stream_survives_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "ChatService.JoinRoom": (
        test_chat_streams.test_streams_survive_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "ChatService.SendMessage": (
        test_chat_streams.test_streams_survive_a_rolling_restart_with_nothing_lost_or_doubled
    ),
    "ChatService.Chat": (
        test_chat_streams.test_a_chat_under_way_is_told_to_resume_and_each_message_taken_is_said_once
    ),
    "ChatService.GetRoomHistory": test_the_history_of_a_room_is_read_whole,
    "ChatService.GetOnlineUsers": test_who_stays_in_a_room_is_online_at_the_new_replicas,
    "NotificationService.StreamNotifications": (
        test_notification.test_a_stream_resumes_after_a_drain_with_nothing_lost_or_doubled
    ),
    "NotificationService.ListNotifications": test_notifications_are_listed_whole,
    "NotificationService.ListMail": test_letters_are_listed_whole,
    "NotificationService.ListAuditLog": test_an_audit_log_is_listed_whole,
    "OrderService.ListAuditLog": test_an_audit_log_is_listed_whole,
    "PaymentService.ListAuditLog": test_an_audit_log_is_listed_whole,
    "ProductService.ListAuditLog": test_an_audit_log_is_listed_whole,
    "UserService.ListAuditLog": test_an_audit_log_is_listed_whole,
    "OrderService.ListOrders": test_orders_are_listed_whole,
    "OrderService.StreamOrderUpdates": test_an_order_is_followed_with_nothing_lost_or_doubled,
    "PaymentService.GetPaymentHistory": test_payments_are_listed_whole,
    "PaymentService.StreamPayments": (
        test_payment_stream.test_a_follower_sees_every_payment_once_while_all_replicas_are_replaced
    ),
    "PaymentService.ProcessPaymentStream": test_a_batch_of_payments_that_is_sent_again_pays_once,
    "PaymentService.BidirectionalPaymentStream": (
        test_payment_stream.test_payments_of_a_stream_are_answered_to_the_last_one_taken_when_its_replica_leaves
    ),
    "ProductService.ListProducts": test_the_catalogue_is_listed_and_searched_whole,
    "ProductService.SearchProducts": test_the_catalogue_is_listed_and_searched_whole,
    "ProductService.ListStockMovements": test_the_ledger_of_a_product_is_listed_whole,
    "ProductService.CreateProducts": test_many_products_are_made_all_or_none_of_a_batch,
    "ProductService.ChatWithProducts": test_a_conversation_with_the_assistant_goes_on_elsewhere,
    "UserService.ListUsers": test_users_are_listed_whole,
    "UserService.BatchCreateUsers": test_a_batch_of_users_that_is_sent_again_registers_once,
}
_FILES: Any = (
    analytics_pb2, chat_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2, user_pb2
)  # fmt: skip


def test_every_streaming_method_has_its_test() -> None:
    methods = [
        method
        for file in _FILES
        for service in file.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    ]
    streaming = [m.full_name for m in methods if m.client_streaming or m.server_streaming]
    assert sorted(SHOWN) == sorted(name.removeprefix("ecommerce.") for name in streaming)
