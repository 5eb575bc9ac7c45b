"""PaymentService over the use cases. What issue B adds (the streams) answers UNIMPLEMENTED until then."""

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

from ecommerce import payment_pb2 as pb
from ecommerce import payment_pb2_grpc

from mesh.call import current_workload
from mesh.clock import Clock
from services.kit.caller import current_actor
from services.kit.paging import page_of
from services.kit.validation import checking
from services.payment.domain import MAX_AMOUNT, MAX_KEY, MAX_REASON, Caller, Payment, Status
from services.payment.payments import Payments
from services.payment.wire import charge_of, payment_message


class PaymentServicer(payment_pb2_grpc.PaymentServiceServicer):
    """Protobuf in, protobuf out.

    Args:
        payments: The use cases.
        now: Unix seconds, for the expiry of cards.
    """

    def __init__(self, payments: Payments, now: Clock) -> None:
        self._payments, self._now = payments, now

    async def ProcessPayment(self, request: pb.PaymentRequest, context: Any) -> pb.PaymentResponse:
        caller = _caller()
        caller.require_known()
        with checking() as check:
            charge = charge_of(check, request, caller, self._now())
        charge = replace(charge, user_id=caller.payer(charge.user_id))
        return _response(await self._payments.process(charge))

    async def RefundPayment(self, request: pb.RefundRequest, context: Any) -> pb.RefundResponse:
        caller = _caller()
        caller.require_refunder()
        with checking() as check:
            check.id("payment_id", request.payment_id)
            amount = check.cents("amount", request.amount, 1, MAX_AMOUNT)
            reason = check.text("reason", request.reason, most=MAX_REASON)
            key = caller.scoped(check.text("idempotency_key", request.idempotency_key, most=MAX_KEY))
        refund = await self._payments.refund(caller, request.payment_id, amount, reason, key)
        return pb.RefundResponse(success=True, message="refunded", refund_id=refund.id)

    async def VoidPayment(self, request: pb.VoidPaymentRequest, context: Any) -> pb.VoidPaymentResponse:
        caller = _caller()
        caller.require_order_service()
        with checking() as check:
            key = check.text("idempotency_key", request.idempotency_key, least=1, most=MAX_KEY)
            reason = check.text("reason", request.reason, most=MAX_REASON)
        payment = await self._payments.void(caller, key, reason)
        return pb.VoidPaymentResponse(payment=payment_message(payment) if payment else None)

    async def GetPaymentHistory(
        self, request: pb.GetPaymentHistoryRequest, context: Any
    ) -> AsyncIterator[pb.Payment]:
        caller = _caller()
        caller.require_known()
        with checking() as check:
            check.integer("user_id", request.user_id, 1 if caller.order_service else 0)
            page = page_of(check, request.page, request.page_size)
        user_id = caller.payer(request.user_id)
        for payment in await self._payments.history(user_id, page.limit, page.offset):
            yield payment_message(payment)


def _caller() -> Caller:
    workload = current_workload()
    # Any other workload only carries a user's token; the order service acts after its user has left.
    return Caller(current_actor(), order_service=workload is not None and workload.service == "order")


def _response(payment: Payment) -> pb.PaymentResponse:
    success = payment.status in (Status.COMPLETED, Status.REFUNDED)
    message = "the payment was voided" if payment.status is Status.VOIDED else payment.message
    return pb.PaymentResponse(payment=payment_message(payment), success=success, message=message)
