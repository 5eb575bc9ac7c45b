"""Protobuf to domain and back: the shape of requests is checked here, all wrong fields at once."""

from ecommerce import payment_pb2 as pb
from google.protobuf import timestamp_pb2

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
    # A fence reaches the wire only as the answer to a charge that came too late for its key.
    Status.VOIDED: pb.PAYMENT_STATUS_FAILED,
}


def charge_of(check: Check, request: pb.PaymentRequest, caller: Caller, now: float) -> Charge:
    """The charge that a request asks for, with `check` told what is wrong with it."""
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
            # A key may ask for what is recorded; a method alone names nothing to charge.
            check.that(method is None, "payment_method", "must be given with a method")
            return None


def payment_message(payment: Payment) -> pb.Payment:
    """The payment as it goes over the wire."""
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


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp
