"""Refunds, shipping, cancellations, and the catalogue's edits, all at once; then the books are audited."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import order_pb2 as pb
from ecommerce import payment_pb2, product_pb2

from meshmart.books.read import audit
from services.kit import outbox
from services.kit.db import Database
from tests.databases import Databases, Maker

from .replicakit import eventually
from .shopkit import ADMIN, BOB, SERVICES, Shop, shop

Code = grpc.StatusCode
ORDERS = 12
#: What may come of losing a race; anything else, INTERNAL above all, is a fault.
_LOST = {
    Code.FAILED_PRECONDITION,
    Code.ABORTED,
    Code.UNAVAILABLE,
    Code.NOT_FOUND,
    Code.DEADLINE_EXCEEDED,
}
#: Begins when it is called.
Call = Callable[[], Awaitable[Any]]
_UNDONE = (pb.ORDER_STATUS_CANCELLED, pb.ORDER_STATUS_REFUNDED)


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases("notification", *SERVICES)


@pytest.fixture
async def made(databases: Databases) -> AsyncIterator[Shop]:
    async with shop(databases, time.time) as made:
        yield made


async def _race(call: Call) -> Code:
    try:
        await call()
    except grpc.aio.AioRpcError as e:
        return e.code()
    return Code.OK


def _place(made: Shop, n: int) -> Call:
    items = [pb.OrderItem(product_id=1 + n % 3, quantity=2), pb.OrderItem(product_id=4, quantity=1)]
    items = items if n % 2 else items[::-1]
    request = pb.CreateOrderRequest(user_id=2, items=items, idempotency_key=f"race-{n}")
    return partial(made.order.CreateOrder, request, metadata=BOB, timeout=60)


async def _confirmed(made: Shop, order: pb.Order) -> pb.Order:
    """Return the order once it is paid. A busy machine leaves one PENDING, and recovery takes it up."""

    async def paid() -> bool:
        nonlocal order
        order = (await made.order.GetOrder(pb.GetOrderRequest(id=order.id), metadata=BOB)).order
        return order.status == pb.ORDER_STATUS_CONFIRMED

    await eventually(paid, within=120)
    return order


def _changes(made: Shop, order: pb.Order) -> Sequence[Call]:
    """Everything that can be done to an order, some of it twice."""

    def become(status: Any) -> Call:
        request = pb.UpdateOrderStatusRequest(id=order.id, status=status)
        return partial(made.order.UpdateOrderStatus, request, metadata=ADMIN, timeout=60)

    def refund(amount: float, key: str = "") -> Call:
        request = payment_pb2.RefundRequest(
            payment_id=order.payment_id, amount=amount, reason="race", idempotency_key=key
        )
        return partial(made.payment.RefundPayment, request, metadata=ADMIN, timeout=60)

    return [
        become(pb.ORDER_STATUS_SHIPPED),
        become(pb.ORDER_STATUS_CANCELLED),
        refund(0.01),
        refund(0.01, f"key-{order.id}"),
        refund(0.01, f"key-{order.id}"),
        refund(order.total_amount),
        refund(order.total_amount),
        refund(order.total_amount + 0.01),
    ]


def _edits(made: Shop, product: product_pb2.Product) -> Sequence[Call]:
    """An old client's save of what it read, one with a version and a mask, a delivery, and a correction."""
    old = product_pb2.UpdateProductRequest(
        id=product.id, name="edited", price=product.price + 1, stock=product.stock, category=product.category
    )
    new = product_pb2.UpdateProductRequest(id=product.id, description="new", version=product.version)
    new.update_mask.paths.append("description")
    kinds = ((5, product_pb2.STOCK_MOVEMENT_KIND_RECEIVE), (-1, product_pb2.STOCK_MOVEMENT_KIND_CORRECT))
    moves = [product_pb2.AdjustStockRequest(product_id=product.id, change=c, kind=k) for c, k in kinds]
    return [
        partial(made.product.UpdateProduct, old, metadata=ADMIN, timeout=60),
        partial(made.product.UpdateProduct, new, metadata=ADMIN, timeout=60),
        *(partial(made.product.AdjustStock, move, metadata=ADMIN, timeout=60) for move in moves),
    ]


async def _told(db: Database, topic: str) -> bool:
    waiting = sa.select(sa.func.count()).select_from(outbox.table).where(outbox.table.c.topic == topic)
    return await db.read(lambda c: c.scalar(waiting)) == 0


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_at_once_the_books_add_up(made: Shop, databases: Databases, seed: int) -> None:
    rng = random.Random(seed)
    found = await made.product.GetProducts(product_pb2.GetProductsRequest(ids=[1, 2, 3, 4]))
    before = {product.id: product for product in found.products}
    answers = await asyncio.gather(*(_place(made, n)() for n in range(ORDERS)))
    placed = [await _confirmed(made, answer.order) for answer in answers]
    calls = [change for order in placed for change in _changes(made, order)]
    calls += [edit for product in before.values() for edit in _edits(made, product)]
    delete = product_pb2.DeleteProductRequest(id=3)
    calls.append(partial(made.product.DeleteProduct, delete, metadata=ADMIN, timeout=60))
    calls += [_place(made, n) for n in range(ORDERS, 2 * ORDERS)]
    rng.shuffle(calls)
    codes = await asyncio.gather(*map(_race, calls))
    assert set(codes) <= _LOST | {Code.OK}
    assert Code.OK in codes

    async def all_told() -> bool:
        return await _told(made.payment_db, "orders") and await _told(made.order_db, "stock")

    await eventually(all_told, within=120)

    async def all_done() -> bool:
        request = pb.ListOrdersRequest(user_id=2, page_size=100)
        orders = [o async for o in made.order.ListOrders(request, metadata=BOB)]
        return all(o.status != pb.ORDER_STATUS_PENDING for o in orders)

    await eventually(all_done, within=120)
    verdict = await audit(Path(databases.environ.get("MESHMART_DATA_DIR", "")), databases.environ)
    assert verdict.balanced, (verdict.problems, verdict.broken)
    history = made.payment.GetPaymentHistory(
        payment_pb2.GetPaymentHistoryRequest(page_size=100), metadata=BOB
    )
    by_id = {payment.order_id: payment async for payment in history}
    for each in placed:
        order = (await made.order.GetOrder(pb.GetOrderRequest(id=each.id), metadata=BOB)).order
        payment = by_id[order.id]
        assert payment.refunded_amount <= payment.amount
        assert order.refunded_amount == payment.refunded_amount
        whole = payment.refunded_amount == payment.amount
        assert (order.status in _UNDONE) == whole, (order.status, order.refunded_amount)
