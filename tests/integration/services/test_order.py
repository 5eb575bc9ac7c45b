import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from ecommerce import common_pb2, payment_pb2, product_pb2
from ecommerce import order_pb2 as pb

from tests.databases import Maker, stored_text

from .shopkit import (
    ADMIN,
    BOB,
    CHARLIE,
    NOBODY,
    PAYMENT,
    SERVICES,
    Metadata,
    Shop,
    answers_whatever_it_is_asked,
    messages,
    refused,
    shop,
)

#: 2026-01-01
NOW = 1_767_225_600.0
Code = grpc.StatusCode


@dataclass
class Clock:
    now: float = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def made(new_databases: Maker) -> AsyncIterator[Shop]:
    async with shop(new_databases(*SERVICES), Clock()) as made:
        yield made


def _request(*items: tuple[int, int], **kwargs: Any) -> pb.CreateOrderRequest:
    wanted = [pb.OrderItem(product_id=product, quantity=n) for product, n in items or ((1, 2), (2, 1))]
    return pb.CreateOrderRequest(**{"user_id": 2, "items": wanted} | kwargs)


def _card(number: str) -> payment_pb2.PaymentInstrument:
    card = payment_pb2.CreditCard(number=number, expiry="12/30", cvv="123")
    return payment_pb2.PaymentInstrument(credit_card=card)


async def _payments(made: Shop, metadata: Metadata = BOB) -> list[payment_pb2.Payment]:
    request = payment_pb2.GetPaymentHistoryRequest()
    return [payment async for payment in made.payment.GetPaymentHistory(request, metadata=metadata)]


async def _stock(made: Shop, product_id: int) -> int:
    request = product_pb2.GetProductRequest(id=product_id)
    return (await made.product.GetProduct(request)).product.stock


async def test_a_client_that_knows_only_the_contract_buys_something(made: Shop) -> None:
    before = await _stock(made, 1)
    believed = pb.OrderItem(product_id=1, quantity=2, product_name="mine", unit_price=0.01, total_price=0.01)
    address = common_pb2.Address(street="1 Main St", city="Springfield", country="US")
    request = pb.CreateOrderRequest(user_id=2, items=[believed], shipping_address=address)
    order = (await made.order.CreateOrder(request, metadata=BOB)).order
    product = (await made.product.GetProduct(product_pb2.GetProductRequest(id=1))).product
    item = order.items[0]
    assert (item.product_name, item.unit_price, item.quantity) == (product.name, product.price, 2)
    assert item.total_price == order.total_amount == round(2 * product.price, 2)
    assert order.status == pb.ORDER_STATUS_CONFIRMED
    assert order.shipping_address == address
    assert product.stock == before - 2
    (payment,) = await _payments(made)
    assert (payment.id, payment.order_id, payment.amount) == (order.payment_id, order.id, order.total_amount)
    assert payment.method == payment_pb2.PAYMENT_METHOD_DIGITAL_WALLET
    assert (await made.order.GetOrder(pb.GetOrderRequest(id=order.id), metadata=BOB)).order == order


async def test_a_card_pays_and_is_nowhere_to_be_found(made: Shop) -> None:
    request = _request(payment=_card("4242424242424242"))
    order = (await made.order.CreateOrder(request, metadata=BOB)).order
    assert order.status == pb.ORDER_STATUS_CONFIRMED
    assert (await _payments(made))[0].last_four == "4242"
    for db in (made.order_db, made.payment_db):
        stored = await stored_text(db)
        assert "4242" in stored or "CONFIRMED" in stored
        assert "4242424242424242" not in stored


async def test_a_declined_card_leaves_no_trace_in_stock_or_books(made: Shop) -> None:
    before = await _stock(made, 1)
    request = _request((1, 1), payment=_card("4000000000009995"))
    refusal = await refused(made.order.CreateOrder(request, metadata=BOB))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "PAYMENT_DECLINED")
    assert "insufficient funds" in refusal.message
    assert await _stock(made, 1) == before
    assert [p.status for p in await _payments(made)] == [payment_pb2.PAYMENT_STATUS_FAILED]


async def test_a_wrong_card_is_named_field_by_field(made: Shop) -> None:
    refusal = await refused(made.order.CreateOrder(_request(payment=_card("1")), metadata=BOB))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"payment.credit_card.number"})


async def test_out_of_stock_and_missing_products_reach_the_buyer_as_they_are(made: Shop) -> None:
    product = (await made.product.GetProduct(product_pb2.GetProductRequest(id=1))).product
    few = product_pb2.UpdateProductRequest(
        id=1, name=product.name, price=product.price, category=product.category, stock=5
    )
    await made.product.UpdateProduct(few, metadata=ADMIN)
    refusal = await refused(made.order.CreateOrder(_request((2, 1), (1, 6)), metadata=BOB))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "OUT_OF_STOCK")
    refusal = await refused(made.order.CreateOrder(_request((1, 1), (99999, 1)), metadata=BOB))
    assert (refusal.code, refusal.resource[1]) == (Code.NOT_FOUND, "99999")
    assert await _stock(made, 1) == 5
    assert await _payments(made) == []


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (_request(user_id=0), {"user_id"}),
        (_request(user_id=-1), {"user_id"}),
        (pb.CreateOrderRequest(user_id=2), {"items"}),
        (_request(*[(1, 1)] * 101), {"items"}),
        (_request((0, 1), (1, 0)), {"items[0].product_id", "items[1].quantity"}),
        (_request((1, 1001), (-1, -1)), {"items[0].quantity", "items[1].product_id", "items[1].quantity"}),
        (_request((1, 600), (1, 600)), {"items"}),
        (_request(idempotency_key="k" * 101), {"idempotency_key"}),
        (_request(shipping_address=common_pb2.Address(city="x" * 201)), {"shipping_address.city"}),
        (_request(payment=payment_pb2.PaymentInstrument()), {"payment.instrument"}),
        (
            _request(payment=payment_pb2.PaymentInstrument(method=77)),
            {"payment.instrument", "payment.method"},
        ),  # type: ignore[arg-type]
    ],
)
async def test_every_wrong_field_of_an_order_is_named(
    made: Shop, request_: pb.CreateOrderRequest, fields: set[str]
) -> None:
    refusal = await refused(made.order.CreateOrder(request_, metadata=BOB))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)


async def test_a_user_acts_for_itself_and_an_admin_for_anyone(made: Shop) -> None:
    assert (await refused(made.order.CreateOrder(_request(), metadata=NOBODY))).code is Code.UNAUTHENTICATED
    assert (
        await refused(made.order.CreateOrder(_request(), metadata=CHARLIE))
    ).code is Code.PERMISSION_DENIED
    order = (await made.order.CreateOrder(_request((1, 1)), metadata=ADMIN)).order
    assert order.user_id == 2
    get = pb.GetOrderRequest(id=order.id)
    for call in (made.order.GetOrder, made.order.StreamOrderUpdates):
        assert (await refused(call(get, metadata=CHARLIE))).code is Code.PERMISSION_DENIED
        assert (await refused(call(get, metadata=NOBODY))).code is Code.UNAUTHENTICATED
        missing = await refused(call(pb.GetOrderRequest(id=777), metadata=BOB))
        assert (missing.code, missing.resource) == (Code.NOT_FOUND, ("order", "777"))
        assert (await refused(call(pb.GetOrderRequest(), metadata=BOB))).fields == {"id"}


async def test_a_key_orders_and_pays_once(made: Shop) -> None:
    calls = [made.order.CreateOrder(_request((1, 1), idempotency_key="k"), metadata=BOB) for _ in range(5)]
    orders = [response.order for response in await asyncio.gather(*calls)]
    assert len({order.id for order in orders}) == 1
    assert len(await _payments(made)) == 1
    elsewhere = common_pb2.Address(city="elsewhere")
    for another in (
        _request((2, 1), idempotency_key="k"),
        _request((1, 1), idempotency_key="k", shipping_address=elsewhere),
        _request((1, 1), idempotency_key="k", payment=_card("4242424242424242")),
    ):
        other = await refused(made.order.CreateOrder(another, metadata=BOB))
        assert (other.code, other.reason) == (Code.FAILED_PRECONDITION, "KEY_REUSED")


async def test_cancelling_gives_back_stock_and_money(made: Shop) -> None:
    before = await _stock(made, 1)
    order = (await made.order.CreateOrder(_request((1, 3)), metadata=BOB)).order
    cancel = pb.UpdateOrderStatusRequest(id=order.id, status=pb.ORDER_STATUS_CANCELLED)
    for _ in range(2):
        cancelled = (await made.order.UpdateOrderStatus(cancel, metadata=BOB)).order
        assert cancelled.status == pb.ORDER_STATUS_CANCELLED
    assert await _stock(made, 1) == before
    (payment,) = await _payments(made)
    assert (payment.status, payment.refunded_amount) == (
        payment_pb2.PAYMENT_STATUS_REFUNDED,
        order.total_amount,
    )


async def test_status_changes_are_checked(made: Shop) -> None:
    order = (await made.order.CreateOrder(_request((1, 1)), metadata=BOB)).order

    def change(status: int, metadata: Metadata, order_id: int = order.id) -> Any:
        request = pb.UpdateOrderStatusRequest(id=order_id, status=status)  # type: ignore[arg-type]
        return made.order.UpdateOrderStatus(request, metadata=metadata)

    assert (await refused(change(pb.ORDER_STATUS_SHIPPED, BOB))).code is Code.PERMISSION_DENIED
    assert (await refused(change(pb.ORDER_STATUS_CANCELLED, CHARLIE))).code is Code.PERMISSION_DENIED
    assert (await refused(change(0, ADMIN))).fields == {"status"}
    assert (await refused(change(42, ADMIN, 0))).fields == {"status", "id"}
    illegal = await refused(change(pb.ORDER_STATUS_DELIVERED, ADMIN))
    assert (illegal.code, illegal.reason) == (Code.FAILED_PRECONDITION, "ILLEGAL_STATUS_CHANGE")
    shipped = (await change(pb.ORDER_STATUS_SHIPPED, ADMIN)).order
    assert shipped.status == pb.ORDER_STATUS_SHIPPED


async def test_a_list_is_paged_filtered_and_ones_own(made: Shop) -> None:
    ids = [(await made.order.CreateOrder(_request((1, 1)), metadata=BOB)).order.id for _ in range(3)]
    mine = (await made.order.CreateOrder(_request((1, 1), user_id=1), metadata=ADMIN)).order.id

    async def listed(metadata: Metadata, **kwargs: Any) -> list[int]:
        call = made.order.ListOrders(pb.ListOrdersRequest(**kwargs), metadata=metadata)
        return [order.id async for order in call]

    assert await listed(BOB) == await listed(ADMIN, user_id=2) == ids[::-1]
    assert await listed(ADMIN) == [mine, *ids[::-1]]
    assert await listed(BOB, page=2, page_size=2) == ids[:1]
    assert await listed(BOB, status=pb.ORDER_STATUS_CANCELLED) == []
    other = made.order.ListOrders(pb.ListOrdersRequest(user_id=1), metadata=BOB)
    assert (await refused(other)).code is Code.PERMISSION_DENIED
    wrong = pb.ListOrdersRequest(user_id=-1, status=99, page=-1, page_size=-2)  # type: ignore[arg-type]
    refusal = await refused(made.order.ListOrders(wrong, metadata=BOB))
    assert refusal.fields == {"user_id", "status", "page", "page_size"}


async def test_a_stream_follows_an_order_to_its_end_and_resumes(made: Shop) -> None:
    order = (await made.order.CreateOrder(_request((1, 1)), metadata=BOB)).order
    follow = pb.GetOrderRequest(id=order.id, after_cursor=order.cursor)
    stream: Any = made.order.StreamOrderUpdates(follow, metadata=BOB, timeout=60)
    for status in (pb.ORDER_STATUS_SHIPPED, pb.ORDER_STATUS_DELIVERED):
        await made.order.UpdateOrderStatus(
            pb.UpdateOrderStatusRequest(id=order.id, status=status), metadata=ADMIN
        )
        update = await stream.read()
        assert (update.order_id, update.status) == (order.id, status)
    stream.cancel()
    refund = pb.UpdateOrderStatusRequest(id=order.id, status=pb.ORDER_STATUS_REFUNDED)
    await made.order.UpdateOrderStatus(refund, metadata=ADMIN)
    follow.after_cursor = update.cursor
    rest = [u async for u in made.order.StreamOrderUpdates(follow, metadata=BOB, timeout=60)]
    assert [u.status for u in rest] == [pb.ORDER_STATUS_DELIVERED, pb.ORDER_STATUS_REFUNDED]
    assert all(u.cursor > update.cursor for u in rest)


async def test_a_caller_whose_deadline_ends_has_its_order_finished(new_databases: Maker) -> None:
    # A clock that runs: the call may be cancelled after its order is recorded and before its saga begins, and
    # recovery takes the order up when its lease has ended.
    async with shop(new_databases(*SERVICES), time.time) as made:
        call = made.order.CreateOrder(_request((1, 1)), metadata=BOB, timeout=0.001)
        assert (await refused(call)).code is Code.DEADLINE_EXCEEDED
        listed = [o async for o in made.order.ListOrders(pb.ListOrdersRequest(), metadata=BOB)]
        for order in listed:  # none, if the call was over before it was begun
            follow = pb.GetOrderRequest(id=order.id, after_cursor=1)
            stream = made.order.StreamOrderUpdates(follow, metadata=BOB, timeout=60)
            assert pb.ORDER_STATUS_CONFIRMED in [update.status async for update in _until_placed(stream)]


async def _until_placed(stream: AsyncIterator[pb.OrderUpdate]) -> AsyncIterator[pb.OrderUpdate]:
    async for update in stream:
        yield update
        if update.status != pb.ORDER_STATUS_PENDING:
            return


_METHODS = {
    "CreateOrder": pb.CreateOrderRequest,
    "GetOrder": pb.GetOrderRequest,
    "UpdateOrderStatus": pb.UpdateOrderStatusRequest,
    "ListOrders": pb.ListOrdersRequest,
    "StreamOrderUpdates": pb.GetOrderRequest,
    "RecordRefund": pb.RecordRefundRequest,
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(made: Shop, method: str) -> None:
    await made.order.CreateOrder(_request((1, 1)), metadata=BOB)
    drawn, callers = messages(_METHODS[method]), [ADMIN, BOB, NOBODY, PAYMENT]
    timeout = 0.1 if method == "StreamOrderUpdates" else 10
    await answers_whatever_it_is_asked(getattr(made.order, method), drawn, callers, made.databases, timeout)
