"""Converts protobuf to the domain and back. The form of requests is checked here, all fields at once."""

from collections.abc import Iterable, Sequence

from ecommerce import payment_pb2 as pb
from google.protobuf import timestamp_pb2

from services.kit.follow import MAX_CURSOR
from services.kit.intake import entry
from services.kit.money import from_cents
from services.kit.validation import Check
from services.payment.domain import (
    MAX_AMOUNT,
    MAX_KEY,
    BankAccount,
    Caller,
    Card,
    Charge,
    Instrument,
    Method,
    Payment,
    Status,
    Wallet,
)
from services.payment.instruments import CARD_FIELDS, FLAT_FIELDS, instrument

_METHODS = {
    pb.PAYMENT_METHOD_CREDIT_CARD: Method.CREDIT_CARD,
    pb.PAYMENT_METHOD_DEBIT_CARD: Method.DEBIT_CARD,
    pb.PAYMENT_METHOD_PAYPAL: Method.PAYPAL,
    pb.PAYMENT_METHOD_BANK_TRANSFER: Method.BANK_TRANSFER,
    pb.PAYMENT_METHOD_DIGITAL_WALLET: Method.DIGITAL_WALLET,
}
_METHOD_NUMBERS = {method: number for number, method in _METHODS.items()}
_STATUS_NUMBERS = {
    Status.PROCESSING: pb.PAYMENT_STATUS_PROCESSING,
    Status.COMPLETED: pb.PAYMENT_STATUS_COMPLETED,
    Status.FAILED: pb.PAYMENT_STATUS_FAILED,
    Status.REFUNDED: pb.PAYMENT_STATUS_REFUNDED,
    # VOIDED reaches the wire only as the answer to a charge that came too late for its key.
    Status.VOIDED: pb.PAYMENT_STATUS_FAILED,
    Status.UNDONE: pb.PAYMENT_STATUS_REFUNDED,
}


#: Metadata keys of StreamPayments: the cursor to resume after, and the one after which the stream begins.
AFTER_CURSOR_KEY, CURSOR_KEY = "x-after-cursor", "x-cursor"
_CURSOR_DIGITS = len(str(MAX_CURSOR))
#: Messages that replace the acquirer's.
_MESSAGES = {
    Status.VOIDED: "the payment was voided",
    Status.UNDONE: "given back, as its batch failed or it came too late",
}


def charge_of(check: Check, request: pb.PaymentRequest, caller: Caller, now: float) -> Charge:
    """Return the charge that a request asks for, and record violations in `check`."""
    check.integer("user_id", request.user_id, 1 if caller.order_service else 0)
    charge = Charge(
        user_id=request.user_id,
        order_id=check.id("order_id", request.order_id),
        amount=check.cents("amount", request.amount, 1, MAX_AMOUNT),
        key=caller.scoped(check.text("idempotency_key", request.idempotency_key, most=MAX_KEY)),
        instrument=_instrument(check, request, now),
    )
    if charge.instrument is None:
        check.that(charge.key is not None, "payment_method", "must be given")
    return charge


def batch_of(check: Check, requests: Sequence[pb.PaymentRequest], caller: Caller, now: float) -> list[Charge]:
    """Return the charges of a batch, and record violations in `check` as `requests[INDEX].FIELD`."""
    check.that(bool(requests), "requests", "must not be empty")
    charges = [_entry(check, index, request, caller, now) for index, request in enumerate(requests)]
    keys: dict[str | None, int] = {}
    for index, charge in enumerate(charges):
        field = f"requests[{index}].idempotency_key"
        check.that((charge.key is None) == (charges[0].key is None), field, "must be given in all or in none")
        first = keys.setdefault(charge.key, index)
        check.that(charge.key is None or first == index, field, f"is that of requests[{first}]")
    return charges


def _entry(check: Check, index: int, request: pb.PaymentRequest, caller: Caller, now: float) -> Charge:
    with entry(check, index) as inner:
        charge = charge_of(inner, request, caller, now)
        # A single request with only a key asks for what is recorded; a batch always charges.
        if charge.instrument is None and charge.key is not None:
            inner.that(request.method != pb.PAYMENT_METHOD_UNSPECIFIED, "payment_method", "must be given")
    return charge


def after_cursor(check: Check, metadata: Iterable[tuple[str, str | bytes]]) -> int | None:
    """Return the cursor in the request's metadata, to resume after. None begins with the next payment."""
    text = dict(metadata).get(AFTER_CURSOR_KEY)
    if text is None:
        return None
    fits = isinstance(text, str) and text.isascii() and text.isdigit() and len(text) <= _CURSOR_DIGITS
    check.that(fits and int(text) <= MAX_CURSOR, AFTER_CURSOR_KEY, f"must be from 0 to {MAX_CURSOR}")
    return int(text) if fits else None


def _instrument(check: Check, request: pb.PaymentRequest, now: float) -> Instrument | None:
    check.choice("method", request.method, tuple(_METHODS), optional=True)
    method = _METHODS.get(request.method)
    flat = bool(request.card_number or request.expiry_date or request.cvv)
    which = request.WhichOneof("payment_method")
    if flat and which:
        check.fail("payment_method", "must not be given together with card_number, expiry_date or cvv")
    if flat:
        card = Card(request.card_number, request.expiry_date, request.cvv)
        return instrument(check, method, card, now, FLAT_FIELDS)
    match which:
        case "credit_card":
            card = Card(request.credit_card.number, request.credit_card.expiry, request.credit_card.cvv)
            return instrument(check, method, card, now, CARD_FIELDS)
        case "bank_account":
            account = request.bank_account
            details = BankAccount(account.account_number, account.routing_number)
            return instrument(check, method, details, now)
        case "digital_wallet":
            wallet = request.digital_wallet
            return instrument(check, method, Wallet(wallet.wallet_id, wallet.provider), now)
        case _:
            # A key alone may ask for what is recorded; a method alone names nothing to charge.
            check.that(method is None, "payment_method", "must be given with a method")
            return None


def payment_message(payment: Payment) -> pb.Payment:
    """Return the payment as a protobuf message."""
    message = pb.Payment(
        id=payment.id,
        order_id=payment.order_id,
        amount=from_cents(payment.amount),
        method=_METHOD_NUMBERS[payment.method] if payment.method else pb.PAYMENT_METHOD_UNSPECIFIED,
        status=_STATUS_NUMBERS[payment.status],
        transaction_id=payment.transaction_id,
        user_id=payment.user_id,
        last_four=payment.last_four,
        refunded_amount=from_cents(payment.refunded),
    )
    if payment.processed_at:
        message.processed_at.CopyFrom(_timestamp(payment.processed_at))
    return message


def response_message(payment: Payment) -> pb.PaymentResponse:
    """Return the answer about a payment."""
    return pb.PaymentResponse(
        payment=payment_message(payment),
        success=payment.succeeded,
        message=_MESSAGES.get(payment.status, payment.message),
        cursor=payment.cursor,
    )


def batch_message(payments: Sequence[Payment]) -> pb.PaymentResponse:
    """Return the answer about a batch: its `payment` sums up all of them."""
    success = all(payment.succeeded for payment in payments)
    messages = [payment_message(payment) for payment in payments]
    whole = pb.Payment(
        amount=from_cents(sum(payment.amount for payment in payments)),
        refunded_amount=from_cents(sum(payment.refunded for payment in payments)),
        status=pb.PAYMENT_STATUS_COMPLETED if success else pb.PAYMENT_STATUS_FAILED,
        transaction_id=payments[0].batch or "",
        processed_at=messages[0].processed_at,
    )
    for name in ("order_id", "method", "user_id", "last_four"):
        if len(values := {getattr(message, name) for message in messages}) == 1:
            setattr(whole, name, values.pop())
    message = "approved" if success else _why_failed(payments)
    return pb.PaymentResponse(payment=whole, success=success, message=message, payments=messages)


def _why_failed(payments: Sequence[Payment]) -> str:
    # Those before it were charged and refunded, those after it were not charged.
    for index, payment in enumerate(payments):
        if payment.status is Status.FAILED:
            return f"requests[{index}]: {payment.message}; nothing was charged"
    return "nothing was charged"


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp
