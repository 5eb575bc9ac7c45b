import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from ecommerce import payment_pb2 as pb
from google.protobuf.empty_pb2 import Empty
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.databases import Databases, Maker

from .shopkit import ADMIN, BOB, NOBODY, ORDER, SERVICES, Metadata, messages, refused, shop

#: 2026-01-01
NOW = 1_767_225_600.0
Code = grpc.StatusCode


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases(*SERVICES)


@pytest.fixture
async def payment(databases: Databases) -> AsyncIterator[Any]:
    async with shop(databases, lambda: NOW) as made:
        yield made.payment


def _request(**kwargs: Any) -> pb.PaymentRequest:
    card = {"card_number": "4242424242424242", "expiry_date": "12/30", "cvv": "123"}
    return pb.PaymentRequest(
        **{"order_id": 5, "amount": 19.99, "method": pb.PAYMENT_METHOD_CREDIT_CARD} | card | kwargs
    )


async def test_a_client_that_knows_only_the_contract_pays_with_its_card(payment: Any) -> None:
    response = await payment.ProcessPayment(_request(), metadata=BOB)
    assert response.success
    paid = response.payment
    assert (paid.order_id, paid.amount, paid.method, paid.status, paid.user_id, paid.last_four) == (
        5,
        19.99,
        pb.PAYMENT_METHOD_CREDIT_CARD,
        pb.PAYMENT_STATUS_COMPLETED,
        2,
        "4242",
    )
    assert paid.transaction_id
    assert paid.processed_at.seconds == int(NOW)
    history = [p async for p in payment.GetPaymentHistory(pb.GetPaymentHistoryRequest(), metadata=BOB)]
    assert history == [paid]


async def test_a_decline_is_an_answer_and_not_an_error(payment: Any) -> None:
    request = _request(card_number="4000000000009995", idempotency_key="k")
    for _ in range(2):
        response = await payment.ProcessPayment(request, metadata=BOB)
        assert (response.success, response.message) == (False, "insufficient funds")
        assert response.payment.status == pb.PAYMENT_STATUS_FAILED


@pytest.mark.parametrize(
    ("wrong", "fields"),
    [
        ({"order_id": 0}, {"order_id"}),
        ({"amount": 0}, {"amount"}),
        ({"amount": -1}, {"amount"}),
        ({"amount": 0.001}, {"amount"}),
        ({"amount": float("nan")}, {"amount"}),
        ({"amount": float("inf")}, {"amount"}),
        ({"method": 99}, {"method"}),
        ({"card_number": "4242424242424241"}, {"card_number"}),
        ({"expiry_date": "12/25"}, {"expiry_date"}),
        ({"cvv": "1"}, {"cvv"}),
        ({"cvv": "1", "expiry_date": "x", "amount": -1}, {"cvv", "expiry_date", "amount"}),
        ({"card_number": "", "expiry_date": "", "cvv": ""}, {"payment_method"}),
        ({"card_number": "", "expiry_date": "", "cvv": "", "method": 0}, {"payment_method"}),
        ({"method": pb.PAYMENT_METHOD_PAYPAL}, {"method"}),
        ({"bank_account": pb.BankAccount()}, {"payment_method"}),
        ({"user_id": -1}, {"user_id"}),
        ({"idempotency_key": "x" * 129}, {"idempotency_key"}),
    ],
)  # fmt: skip
async def test_every_wrong_field_of_a_payment_is_named(
    payment: Any, wrong: dict[str, Any], fields: set[str]
) -> None:
    refusal = await refused(payment.ProcessPayment(_request(**wrong), metadata=BOB))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)
    assert "4242" not in refusal.message


@pytest.mark.parametrize(
    ("metadata", "user_id", "code"),
    [(NOBODY, 0, Code.UNAUTHENTICATED), (BOB, 3, Code.PERMISSION_DENIED), (ORDER, 0, Code.INVALID_ARGUMENT)],
)
async def test_who_may_not_pay_is_told_why(
    payment: Any, metadata: Metadata, user_id: int, code: grpc.StatusCode
) -> None:
    assert (await refused(payment.ProcessPayment(_request(user_id=user_id), metadata=metadata))).code is code


@pytest.mark.parametrize(("metadata", "user_id"), [(BOB, 2), (ADMIN, 2), (ORDER, 2)])
async def test_who_may_pay_for_bob(payment: Any, metadata: Metadata, user_id: int) -> None:
    response = await payment.ProcessPayment(_request(user_id=user_id), metadata=metadata)
    assert response.payment.user_id == 2


async def test_refunds_are_the_admins_and_no_more_than_was_paid(payment: Any) -> None:
    paid = (await payment.ProcessPayment(_request(), metadata=BOB)).payment
    request = pb.RefundRequest(payment_id=paid.id, amount=12.5, reason="broken", idempotency_key="r")
    assert (await refused(payment.RefundPayment(request, metadata=BOB))).code is Code.PERMISSION_DENIED
    assert (await refused(payment.RefundPayment(request, metadata=NOBODY))).code is Code.UNAUTHENTICATED
    first, again = [await payment.RefundPayment(request, metadata=ADMIN) for _ in range(2)]
    assert first.success
    assert first.refund_id == again.refund_id != ""
    more = pb.RefundRequest(payment_id=paid.id, amount=7.5)
    refusal = await refused(payment.RefundPayment(more, metadata=ADMIN))
    assert (refusal.code, refusal.reason) == (Code.FAILED_PRECONDITION, "REFUND_EXCEEDS_PAYMENT")
    await payment.RefundPayment(pb.RefundRequest(payment_id=paid.id, amount=7.49), metadata=ADMIN)
    (left,) = [p async for p in payment.GetPaymentHistory(pb.GetPaymentHistoryRequest(), metadata=BOB)]
    assert (left.status, left.refunded_amount) == (pb.PAYMENT_STATUS_REFUNDED, 19.99)


async def test_a_wrong_refund_is_told_what_is_wrong(payment: Any) -> None:
    refusal = await refused(payment.RefundPayment(pb.RefundRequest(amount=-1), metadata=ADMIN))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"payment_id", "amount"})
    refusal = await refused(payment.RefundPayment(pb.RefundRequest(payment_id=9, amount=1), metadata=ADMIN))
    assert (refusal.code, refusal.resource) == (Code.NOT_FOUND, ("Payment", "9"))


async def test_a_history_is_ones_own_and_paged(payment: Any) -> None:
    for order_id in (1, 2, 3):
        await payment.ProcessPayment(_request(order_id=order_id), metadata=BOB)

    async def orders(metadata: Metadata, **kwargs: int) -> list[int]:
        call = payment.GetPaymentHistory(pb.GetPaymentHistoryRequest(**kwargs), metadata=metadata)
        return [p.order_id async for p in call]

    assert await orders(BOB) == await orders(ADMIN, user_id=2) == [3, 2, 1]
    assert await orders(BOB, page=2, page_size=2) == [1]
    other = pb.GetPaymentHistoryRequest(user_id=1)
    assert (await refused(payment.GetPaymentHistory(other, metadata=BOB))).code is Code.PERMISSION_DENIED
    wrong = pb.GetPaymentHistoryRequest(user_id=-1, page=-1, page_size=-1)
    refusal = await refused(payment.GetPaymentHistory(wrong, metadata=BOB))
    assert refusal.fields == {"user_id", "page", "page_size"}


async def test_voiding_is_for_the_order_service_only(payment: Any) -> None:
    request = pb.VoidPaymentRequest(idempotency_key="k")
    assert (await refused(payment.VoidPayment(request, metadata=ADMIN))).code is Code.PERMISSION_DENIED
    assert not (await payment.VoidPayment(request, metadata=ORDER)).HasField("payment")
    late = await payment.ProcessPayment(_request(idempotency_key="k", user_id=2), metadata=ORDER)
    assert (late.success, late.message) == (False, "the payment was voided")


async def test_what_a_later_issue_brings_is_unimplemented(payment: Any) -> None:
    assert (await refused(payment.StreamPayments(Empty(), metadata=ADMIN))).code is Code.UNIMPLEMENTED
    batch = payment.ProcessPaymentStream(iter([_request()]), metadata=BOB)
    assert (await refused(batch)).code is Code.UNIMPLEMENTED
    both = payment.BidirectionalPaymentStream(iter([_request()]), metadata=BOB)
    assert (await refused(both)).code is Code.UNIMPLEMENTED


_METHODS = {
    "ProcessPayment": pb.PaymentRequest,
    "RefundPayment": pb.RefundRequest,
    "VoidPayment": pb.VoidPaymentRequest,
    "GetPaymentHistory": pb.GetPaymentHistoryRequest,
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(
    payment: Any, databases: Databases, method: str
) -> None:
    # One event loop for the server and all examples: hypothesis draws, the loop calls.
    loop = asyncio.get_running_loop()

    async def call(request: Any, metadata: Metadata) -> None:
        made: Any = getattr(payment, method)(request, metadata=metadata, timeout=10)
        try:
            if method == "GetPaymentHistory":
                async for _ in made:
                    pass
            else:
                await made
        except grpc.aio.AioRpcError as e:
            if e.code() in (Code.UNKNOWN, Code.INTERNAL):
                raise

    @settings(
        max_examples=databases.examples(60),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(request=messages(_METHODS[method]), metadata=st.sampled_from([ADMIN, BOB, NOBODY, ORDER]))
    def check(request: Any, metadata: Metadata) -> None:
        asyncio.run_coroutine_threadsafe(call(request, metadata), loop).result(20)

    await asyncio.to_thread(check)
