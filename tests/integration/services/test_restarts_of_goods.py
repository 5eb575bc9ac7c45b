"""Streaming methods of the catalogue, orders and payments while their service is restarted: see
`test_restarts`."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc
from ecommerce import (
    chat_pb2,
    order_pb2,
    payment_pb2,
    product_pb2,
)
from ecommerce.order_pb2_grpc import OrderServiceStub
from ecommerce.payment_pb2_grpc import PaymentServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub

from services.kit.db import Database
from services.loadgen.following import Following
from services.order.domain import Address, Line, Order
from services.order.storage import SqlStore as OrderStore
from tests.databases import Databases

from .replicakit import eventually
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
