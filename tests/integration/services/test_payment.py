from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from ecommerce import payment_pb2 as pb
from google.protobuf.empty_pb2 import Empty

from services.payment import servicer
from tests.databases import Databases, Maker

from .shopkit import (
    ADMIN,
    BOB,
    NOBODY,
    ORDER,
    SERVICES,
    Metadata,
    answers_whatever_it_is_asked,
    refused,
    requests,
    shop,
)

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
    assert (refusal.code, refusal.resource) == (Code.NOT_FOUND, ("payment", "9"))


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


async def test_a_batch_is_settled_as_one(payment: Any) -> None:
    requests = [
        _request(idempotency_key=f"k{i}", amount=amount) for i, amount in enumerate((0.1, 0.2, 19.99))
    ]
    whole = await payment.ProcessPaymentStream(iter(requests), metadata=BOB)
    assert (whole.success, whole.message) == (True, "approved")
    batch = whole.payment
    assert (batch.id, batch.amount, batch.status) == (0, 20.29, pb.PAYMENT_STATUS_COMPLETED)
    # What all have in common is the batch's too.
    assert (batch.order_id, batch.user_id, batch.last_four) == (5, 2, "4242")
    assert batch.transaction_id.startswith("batch_")
    assert [p.amount for p in whole.payments] == [0.1, 0.2, 19.99]
    assert await payment.ProcessPaymentStream(iter(requests), metadata=BOB) == whole
    history = [p async for p in payment.GetPaymentHistory(pb.GetPaymentHistoryRequest(), metadata=BOB)]
    assert history == list(whole.payments)[::-1]


async def test_of_a_batch_with_a_decline_all_is_given_back(payment: Any) -> None:
    requests = [_request(), _request(order_id=6, card_number="4000000000000002"), _request()]
    whole = await payment.ProcessPaymentStream(iter(requests), metadata=BOB)
    assert (whole.success, whole.message) == (False, "requests[1]: card declined; nothing was charged")
    assert (whole.payment.status, whole.payment.order_id) == (pb.PAYMENT_STATUS_FAILED, 0)
    assert [(p.status, p.refunded_amount) for p in whole.payments] == [
        (pb.PAYMENT_STATUS_REFUNDED, 19.99),
        (pb.PAYMENT_STATUS_FAILED, 0),
        (pb.PAYMENT_STATUS_FAILED, 0),
    ]


@pytest.mark.parametrize(
    ("requests", "fields"),
    [
        ([], {"requests"}),
        ([_request()] * 101, {"requests"}),
        (
            [_request(), _request(order_id=0, cvv="x"), _request(amount=-1)],
            {"requests[1].order_id", "requests[1].cvv", "requests[2].amount"},
        ),
        ([_request(idempotency_key="k"), _request()], {"requests[1].idempotency_key"}),
        ([_request(idempotency_key="k")] * 2, {"requests[1].idempotency_key"}),
        (
            [
                pb.PaymentRequest(order_id=1, amount=1, idempotency_key="k"),
                pb.PaymentRequest(order_id=1, amount=1),
            ],
            {"requests[0].payment_method", "requests[1].payment_method", "requests[1].idempotency_key"},
        ),
    ],
)
async def test_of_a_wrong_batch_each_wrong_entry_is_named(
    payment: Any, requests: list[pb.PaymentRequest], fields: set[str]
) -> None:
    refusal = await refused(payment.ProcessPaymentStream(iter(requests), metadata=BOB))
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, fields)
    assert [p async for p in payment.GetPaymentHistory(pb.GetPaymentHistoryRequest(), metadata=BOB)] == []


async def test_a_batch_is_for_ones_own_and_for_an_admin_anybodys(payment: Any) -> None:
    other = [_request(), _request(user_id=1)]
    refusal = await refused(payment.ProcessPaymentStream(iter(other), metadata=BOB))
    assert refusal.code is Code.PERMISSION_DENIED
    refusal = await refused(payment.ProcessPaymentStream(iter([_request()]), metadata=NOBODY))
    assert refusal.code is Code.UNAUTHENTICATED
    whole = await payment.ProcessPaymentStream(iter([_request(user_id=2), _request()]), metadata=ADMIN)
    assert ([p.user_id for p in whole.payments], whole.payment.user_id) == ([2, 1], 0)


async def test_each_payment_of_a_stream_is_answered_in_turn(payment: Any) -> None:
    call = payment.BidirectionalPaymentStream(metadata=BOB)

    async def pay(**kwargs: Any) -> pb.PaymentResponse:
        await call.write(_request(**kwargs))
        return await call.read()

    assert (await pay(order_id=1)).payment.order_id == 1
    declined = await pay(order_id=2, card_number="4000000000000069")
    assert (declined.success, declined.message, declined.payment.order_id) == (False, "expired card", 2)
    assert (await pay(order_id=3)).success
    await call.write(_request(order_id=0))
    refusal = await refused(call.read())
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"order_id"})
    history = [p async for p in payment.GetPaymentHistory(pb.GetPaymentHistoryRequest(), metadata=BOB)]
    assert [p.order_id for p in history] == [3, 2, 1]


async def test_a_stream_of_payments_is_bounded(payment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servicer, "MAX_STREAM", 2)
    call = payment.BidirectionalPaymentStream(iter([_request()] * 3), metadata=BOB)
    assert (await refused(call)).code is Code.RESOURCE_EXHAUSTED
    history = [p async for p in payment.GetPaymentHistory(pb.GetPaymentHistoryRequest(), metadata=BOB)]
    assert len(history) == 2
    monkeypatch.setattr(servicer, "STREAM_PATIENCE", 0.05)
    call = payment.BidirectionalPaymentStream(metadata=BOB)
    assert (await refused(call)).code is Code.DEADLINE_EXCEEDED
    nobody = payment.BidirectionalPaymentStream(iter([_request()]), metadata=NOBODY)
    assert (await refused(nobody)).code is Code.UNAUTHENTICATED


async def test_an_admin_follows_payments_as_they_are_made(payment: Any) -> None:
    await payment.ProcessPayment(_request(order_id=1), metadata=BOB)
    following = payment.StreamPayments(Empty(), metadata=ADMIN)
    assert dict(await following.initial_metadata())["x-cursor"] == "1"
    made = await payment.ProcessPayment(_request(order_id=2), metadata=BOB)
    await payment.ProcessPayment(_request(order_id=3, card_number="4000000000000127"), metadata=BOB)
    first, second = await following.read(), await following.read()
    following.cancel()
    # The answer to a payment tells no cursor: payments are numbered by those who follow them.
    assert (made.cursor, first.cursor, second.cursor) == (0, 2, 3)
    assert first == pb.PaymentResponse(**{f.name: v for f, v in made.ListFields()} | {"cursor": 2})
    assert (second.success, second.message) == (False, "incorrect CVV")
    resumed = payment.StreamPayments(Empty(), metadata=(*ADMIN, ("x-after-cursor", "0")))
    assert [(await resumed.read()).payment.order_id for _ in range(3)] == [1, 2, 3]
    resumed.cancel()


@pytest.mark.parametrize("cursor", ["", "-1", "1.5", "x", str(2**63), "9" * 5000])
async def test_a_cursor_that_is_none_is_named(payment: Any, cursor: str) -> None:
    call = payment.StreamPayments(Empty(), metadata=(*ADMIN, ("x-after-cursor", cursor)))
    refusal = await refused(call)
    assert (refusal.code, refusal.fields) == (Code.INVALID_ARGUMENT, {"x-after-cursor"})


async def test_only_an_admin_follows_payments(payment: Any) -> None:
    assert (await refused(payment.StreamPayments(Empty(), metadata=BOB))).code is Code.PERMISSION_DENIED
    assert (await refused(payment.StreamPayments(Empty(), metadata=NOBODY))).code is Code.UNAUTHENTICATED


_METHODS = {
    "ProcessPayment": pb.PaymentRequest,
    "RefundPayment": pb.RefundRequest,
    "VoidPayment": pb.VoidPaymentRequest,
    "GetPaymentHistory": pb.GetPaymentHistoryRequest,
    "ProcessPaymentStream": pb.PaymentRequest,
    "BidirectionalPaymentStream": pb.PaymentRequest,
}


@pytest.mark.parametrize("method", _METHODS)
async def test_no_request_whatever_is_answered_unknown_or_internal(
    payment: Any, databases: Databases, method: str
) -> None:
    drawn = requests(payment, method, _METHODS)
    callers = [ADMIN, BOB, NOBODY, ORDER]
    await answers_whatever_it_is_asked(getattr(payment, method), drawn, callers, databases)
