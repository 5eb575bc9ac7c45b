"""From RefundPayment to the order, its followers and the stock, through payment's outbox and real servers."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from ecommerce import order_pb2 as pb
from ecommerce import payment_pb2, product_pb2

from services.kit import outbox
from tests.databases import Maker

from .replicakit import eventually
from .shopkit import ADMIN, BOB, ORDER, PAYMENT, SERVICES, Shop, refused, shop
from .test_order import Clock, _payments, _request, _stock

Code = grpc.StatusCode


@pytest.fixture
async def made(new_databases: Maker) -> AsyncIterator[Shop]:
    async with shop(new_databases(*SERVICES), Clock()) as made:
        yield made


async def _placed(made: Shop) -> pb.Order:
    return (await made.order.CreateOrder(_request((1, 2)), metadata=BOB)).order


async def _refund(made: Shop, order: pb.Order, amount: float) -> None:
    refund = payment_pb2.RefundRequest(payment_id=order.payment_id, amount=amount, reason="scratched")
    await made.payment.RefundPayment(refund, metadata=ADMIN)


async def _order(made: Shop, order_id: int) -> pb.Order:
    return (await made.order.GetOrder(pb.GetOrderRequest(id=order_id), metadata=BOB)).order


async def _becomes(made: Shop, order: pb.Order, status: int, refunded: float) -> None:
    async def is_so() -> bool:
        now = await _order(made, order.id)
        return (now.status, now.refunded_amount) == (status, refunded)

    await eventually(is_so)


def _set(made: Shop, order: pb.Order, status: int) -> Any:
    request = pb.UpdateOrderStatusRequest(id=order.id, status=status)  # type: ignore[arg-type]
    return made.order.UpdateOrderStatus(request, metadata=ADMIN)


async def test_an_order_whose_payment_is_refunded_in_full_is_refunded_and_its_units_come_back(
    made: Shop,
) -> None:
    before = await _stock(made, 1)
    order = await _placed(made)
    follow = pb.GetOrderRequest(id=order.id, after_cursor=order.cursor)
    updates: Any = made.order.StreamOrderUpdates(follow, metadata=BOB, timeout=20)
    await _refund(made, order, 100.0)
    await _becomes(made, order, pb.ORDER_STATUS_CONFIRMED, 100.0)
    await _refund(made, order, order.total_amount - 100.0)
    told = [(u.status, u.refunded_amount) async for u in updates]
    assert told[0] == (pb.ORDER_STATUS_CONFIRMED, 100.0)
    assert told[-1] == (pb.ORDER_STATUS_REFUNDED, order.total_amount)
    assert await _stock(made, 1) == before
    refusal = await refused(_set(made, order, pb.ORDER_STATUS_SHIPPED))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "ILLEGAL_STATUS_CHANGE")
    listed = made.order.ListOrders(pb.ListOrdersRequest(status=pb.ORDER_STATUS_REFUNDED), metadata=BOB)
    assert [o.refunded_amount async for o in listed] == [order.total_amount]


async def test_what_was_refunded_in_full_cannot_ship_at_once_either(made: Shop) -> None:
    order = await _placed(made)
    await _refund(made, order, order.total_amount)
    refusal = await refused(_set(made, order, pb.ORDER_STATUS_SHIPPED))
    assert refusal.reason == "ILLEGAL_STATUS_CHANGE"
    await _becomes(made, order, pb.ORDER_STATUS_REFUNDED, order.total_amount)


async def test_what_has_shipped_has_left_the_stock_for_good(made: Shop) -> None:
    before = await _stock(made, 1)
    order = await _placed(made)
    await _refund(made, order, 100.0)
    assert (await _set(made, order, pb.ORDER_STATUS_SHIPPED)).order.status == pb.ORDER_STATUS_SHIPPED

    async def has_left() -> bool:
        request = product_pb2.ListStockMovementsRequest(product_id=1, page_size=1)
        moved = [m async for m in made.product.ListStockMovements(request, metadata=ADMIN)]
        return moved[0].kind == product_pb2.STOCK_MOVEMENT_KIND_SHIP

    await eventually(has_left)
    await _refund(made, order, order.total_amount - 100.0)
    await _becomes(made, order, pb.ORDER_STATUS_REFUNDED, order.total_amount)
    assert await _stock(made, 1) == before - 2
    release = product_pb2.ReleaseStockRequest(key=f"order-{order.id}")
    assert not (await made.product.ReleaseStock(release, metadata=ORDER)).released


async def test_a_cancelled_order_says_what_was_given_back_and_its_events_change_nothing(made: Shop) -> None:
    order = await _placed(made)
    await _refund(made, order, 100.0)
    cancelled = (await _set(made, order, pb.ORDER_STATUS_CANCELLED)).order
    assert (cancelled.status, cancelled.refunded_amount) == (pb.ORDER_STATUS_CANCELLED, order.total_amount)
    assert (await _payments(made))[0].refunded_amount == order.total_amount

    async def all_told() -> bool:
        count = sa.select(sa.func.count()).select_from(outbox.table)
        return await made.payment_db.read(lambda c: c.scalar(count)) == 0

    await eventually(all_told)
    assert await _order(made, order.id) == cancelled


async def test_only_the_payment_service_records_a_refund_and_only_a_right_one(made: Shop) -> None:
    order = await _placed(made)

    def record(**fields: Any) -> Any:
        values = {"order_id": order.id, "payment_id": order.payment_id, "refunded_amount": 1.0, **fields}
        return made.order.RecordRefund(pb.RecordRefundRequest(**values), metadata=PAYMENT)

    for caller in (ADMIN, BOB, ORDER):
        request = pb.RecordRefundRequest(order_id=order.id, payment_id=order.payment_id, refunded_amount=1)
        refusal = await refused(made.order.RecordRefund(request, metadata=caller))
        assert refusal.code is Code.PERMISSION_DENIED
    assert (await refused(record(order_id=0, payment_id=-1, refunded_amount=0.001))).fields == {
        "order_id",
        "payment_id",
        "refunded_amount",
    }
    assert (await refused(record(payment_id=999))).fields == {"payment_id"}
    assert (await refused(record(order_id=999))).code is Code.NOT_FOUND
    await record()
    assert (await _order(made, order.id)).refunded_amount == 1.0


async def test_a_total_that_was_not_shown_is_refused_with_the_new_one(made: Shop) -> None:
    product = (await made.product.GetProduct(product_pb2.GetProductRequest(id=1))).product
    shown = _request((1, 2), expected_total=2 * product.price, idempotency_key="k")
    dearer = product_pb2.UpdateProductRequest(id=1, price=product.price + 1)
    dearer.update_mask.paths.append("price")
    await made.product.UpdateProduct(dearer, metadata=ADMIN)
    before = await _stock(made, 1)
    for _ in "ab":
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await made.order.CreateOrder(shown, metadata=BOB)
        assert caught.value.code() is Code.FAILED_PRECONDITION
        assert f"{2 * product.price + 2:.2f}" in str(caught.value.details())
    assert (await refused(made.order.CreateOrder(shown, metadata=BOB))).reason == "PRICE_CHANGED"
    assert await _payments(made) == []
    assert await _stock(made, 1) == before
    confirmed = _request((1, 2), expected_total=2 * product.price + 2, idempotency_key="k2")
    order = (await made.order.CreateOrder(confirmed, metadata=BOB)).order
    assert (order.status, order.total_amount) == (pb.ORDER_STATUS_CONFIRMED, 2 * product.price + 2)
    for wrong in (-1.0, 0.001, float("nan"), float("inf"), 1e9):
        refusal = await refused(made.order.CreateOrder(_request(expected_total=wrong), metadata=BOB))
        assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"expected_total"})
