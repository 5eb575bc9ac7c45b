"""Clients of the product and the payment service, behind the ports of the order's domain.

The status of a failed call says whether the step happened. A refusal means that it did not, `Unavailable`
that it may be tried again, and any other error that the outcome is unknown.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import grpc
from ecommerce import payment_pb2, product_pb2
from ecommerce.payment_pb2_grpc import PaymentServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2 as details

from grpcmesh.clock import Rng, system_rng
from grpcmesh.errors import (
    Aborted,
    DeadlineExceeded,
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    MeshError,
    NotFound,
    Reason,
    Unavailable,
)
from grpcmesh.status import from_wire
from services.kit.money import from_cents, to_cents
from services.order.domain import Instrument, Line, Order
from services.order.failures import OutcomeUnknown

#: Seconds for one step, retries included. Below the lease, so that no replica takes the order over meanwhile.
STEP_TIMEOUT = 4.0
#: Backoff between two attempts to charge, in seconds: the first bound, doubled up to the last, full jitter.
FIRST_BACKOFF, LAST_BACKOFF = 0.05, 0.5
#: The most characters of a product's name that an order keeps.
MAX_NAME = 500

_Code = grpc.StatusCode
#: The call was refused before it reached the servicer: by the policy, by the token's check, by the router.
_NEVER_RAN = frozenset({_Code.PERMISSION_DENIED, _Code.UNAUTHENTICATED, _Code.UNIMPLEMENTED})
_LATER = frozenset({_Code.UNAVAILABLE, _Code.RESOURCE_EXHAUSTED})
#: The message for the buyer. The call's own text names internal addresses; it is in the trace.
_AWAY = "a service that this order needs is not available at present"
_R = TypeVar("_R")


class ProductCatalogue:
    """The `services.order.ports.Catalogue` that calls ProductService.

    Args:
        channel: A mesh channel to `product`. It retries, because both methods are declared idempotent.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ProductServiceStub(channel)

    async def reserve(self, key: str, lines: Sequence[Line]) -> tuple[Line, ...]:
        """Reserve stock. Return the lines with names and prices, in their order."""
        stock = [product_pb2.StockItem(product_id=i.product_id, quantity=i.quantity) for i in lines]
        request = product_pb2.ReserveStockRequest(key=key, items=stock)
        response = await _asked(lambda: self._stub.ReserveStock(request, timeout=STEP_TIMEOUT))
        if [p.id for p in response.products] != [line.product_id for line in lines]:
            raise OutcomeUnknown("the catalogue answered for other products")
        return tuple(
            Line(line.product_id, line.quantity, product.name[:MAX_NAME], to_cents(product.price))
            for line, product in zip(lines, response.products, strict=True)
        )

    async def release(self, key: str) -> None:
        """Give the stock back, and close the key."""
        request = product_pb2.ReleaseStockRequest(key=key)
        await _asked(lambda: self._stub.ReleaseStock(request, timeout=STEP_TIMEOUT))


class PaymentCashier:
    """The `services.order.ports.Cashier` that calls PaymentService.

    Args:
        channel: A mesh channel to `payment`.
        rng: Draws the jitter of the backoff.
    """

    def __init__(self, channel: grpc.aio.Channel, rng: Rng | None = None) -> None:
        self._stub = PaymentServiceStub(channel)
        self._rng = rng or system_rng()

    async def charge(self, order: Order, instrument: Instrument | None) -> int:
        """Charge once per order; see `services.order.ports.Cashier`."""
        request = _payment_request(order, instrument)
        try:
            response = await _persistently(
                self._rng, lambda left: self._stub.ProcessPayment(request, timeout=left)
            )
        except FailedPrecondition as e:
            if e.reason.reason == "NO_SUCH_PAYMENT":
                raise Aborted("the checkout broke off before it was paid", e.reason.reason) from e
            raise
        except InvalidArgument as e:
            fields = [FieldViolation(f"payment.{v.field}", v.description) for v in e.violations]
            raise InvalidArgument(fields) from e
        if not response.success:
            raise FailedPrecondition(
                f"the payment was declined: {response.message}", "PAYMENT_DECLINED", cause=response.message
            )
        return response.payment.id

    async def void(self, order: Order) -> int:
        """Refund what was charged, and close the key.

        The method is declared idempotent, so the channel retries.
        """
        request = payment_pb2.VoidPaymentRequest(
            idempotency_key=order.saga_key, reason=f"order {order.id}: {order.step.value.lower()}"
        )
        response = await _asked(lambda: self._stub.VoidPayment(request, timeout=STEP_TIMEOUT))
        return to_cents(response.payment.refunded_amount)

    async def refunded(self, order: Order) -> int:
        """Return how much of the payment has been refunded, in cents.

        It asks with the key but without an instrument, which charges nothing.
        """
        request = _question(order)
        response = await _persistently(
            self._rng, lambda left: self._stub.ProcessPayment(request, timeout=left)
        )
        return to_cents(response.payment.refunded_amount)


def _question(order: Order) -> payment_pb2.PaymentRequest:
    return payment_pb2.PaymentRequest(
        order_id=order.id,
        amount=from_cents(order.total),
        idempotency_key=order.saga_key,
        user_id=order.user_id,
    )


def _payment_request(order: Order, instrument: Instrument | None) -> payment_pb2.PaymentRequest:
    request = _question(order)
    if order.on_file:
        request.method = payment_pb2.PAYMENT_METHOD_DIGITAL_WALLET
        request.digital_wallet.provider = "meshmart"
        request.digital_wallet.wallet_id = f"user-{order.user_id}"
    elif instrument is not None:
        _unseal(request, payment_pb2.PaymentInstrument.FromString(instrument.sealed))
    return request


def _unseal(request: payment_pb2.PaymentRequest, instrument: payment_pb2.PaymentInstrument) -> None:
    request.method = instrument.method
    match instrument.WhichOneof("instrument"):
        case "credit_card":
            request.credit_card.CopyFrom(instrument.credit_card)
        case "bank_account":
            request.bank_account.CopyFrom(instrument.bank_account)
        case "digital_wallet":
            request.digital_wallet.CopyFrom(instrument.digital_wallet)


async def _persistently(rng: Rng, call: Callable[[float], Awaitable[_R]]) -> _R:
    """Call again while the answer is UNAVAILABLE and there is time.

    ProcessPayment is not declared idempotent, because without a key it is not, so the channel does not retry
    it. With a key it is idempotent.
    """
    loop = asyncio.get_running_loop()
    give_up, backoff = loop.time() + STEP_TIMEOUT, FIRST_BACKOFF
    while True:
        left = give_up - loop.time()
        try:
            return await _asked(lambda left=left: call(left))  # type: ignore[misc]
        except Unavailable:
            pause = backoff * rng.random()
            if loop.time() + pause >= give_up:
                raise
            await asyncio.sleep(pause)
            backoff = min(backoff * 2, LAST_BACKOFF)


async def _asked(call: Callable[[], Awaitable[_R]]) -> _R:
    try:
        return await call()
    except grpc.aio.AioRpcError as e:
        raise meaning(e) from e
    except DeadlineExceeded as e:
        raise OutcomeUnknown(e.message) from e


def meaning(error: grpc.aio.AioRpcError) -> MeshError | OutcomeUnknown:
    """Return the error of the step for a failed call: see the module."""
    code, text = error.code(), error.details() or ""
    if code in _NEVER_RAN or code in _LATER:
        return Unavailable(_AWAY)
    status = from_wire(error.trailing_metadata())
    for packed in status.details if status else ():
        if (known := _typed(text, packed)) is not None:
            return known
    return OutcomeUnknown(f"{code.name}: {text}")


def _typed(text: str, packed: Any) -> MeshError | None:
    info, resource, bad = details.ErrorInfo(), details.ResourceInfo(), details.BadRequest()
    if packed.Unpack(info):
        rule = FailedPrecondition(text, info.reason)
        rule.reason = Reason(info.reason, info.domain, dict(info.metadata))
        return rule
    if packed.Unpack(resource):
        return NotFound(resource.resource_type, resource.resource_name)
    if packed.Unpack(bad):
        return InvalidArgument([FieldViolation(v.field, v.description) for v in bad.field_violations])
    return None
