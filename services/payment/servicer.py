"""Implements PaymentService over the use cases."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from ecommerce import payment_pb2 as pb
from ecommerce import payment_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from grpcmesh.call import current_workload
from grpcmesh.clock import Clock
from grpcmesh.errors import ResourceExhausted
from services.kit.caller import current_actor
from services.kit.intake import batch, patiently
from services.kit.paging import Listing
from services.kit.validation import checking
from services.payment.batches import MAX_BATCH, Batches
from services.payment.domain import MAX_AMOUNT, MAX_KEY, MAX_REASON, Caller
from services.payment.feed import Feed
from services.payment.payments import Payments
from services.payment.wire import (
    CURSOR_KEY,
    after_cursor,
    batch_message,
    batch_of,
    charge_of,
    payment_message,
    response_message,
)

#: The most payments of one BidirectionalPaymentStream, and the seconds that it waits for each.
MAX_STREAM = 1000
STREAM_PATIENCE = 60.0


class PaymentServicer(payment_pb2_grpc.PaymentServiceServicer):
    """Converts protobuf messages and calls the use cases.

    Args:
        payments, batches, feed: The use cases.
        now: Returns the time in Unix seconds, for the expiry of cards.
    """

    def __init__(self, payments: Payments, batches: Batches, feed: Feed, now: Clock) -> None:
        self._payments, self._batches, self._feed, self._now = payments, batches, feed, now

    async def ProcessPayment(self, request: pb.PaymentRequest, context: Any) -> pb.PaymentResponse:
        caller = _caller()
        caller.require_known()
        return await self._process(caller, request)

    async def ProcessPaymentStream(
        self, request_iterator: AsyncIterator[pb.PaymentRequest], context: Any
    ) -> pb.PaymentResponse:
        caller = _caller()
        caller.require_known()
        requests = await batch(request_iterator, MAX_BATCH)
        with checking() as check:
            charges = batch_of(check, requests, caller, self._now())
        charges = [replace(charge, user_id=caller.payer(charge.user_id)) for charge in charges]
        return batch_message(await self._batches.process(charges))

    async def BidirectionalPaymentStream(
        self, request_iterator: AsyncIterator[pb.PaymentRequest], context: Any
    ) -> AsyncIterator[pb.PaymentResponse]:
        caller = _caller()
        caller.require_known()
        settled = 0
        async for request in patiently(request_iterator, STREAM_PATIENCE):
            if settled == MAX_STREAM:
                raise ResourceExhausted(f"{MAX_STREAM} payments a stream; open another", retry_after=1.0)
            yield await self._process(caller, request)
            settled += 1

    async def StreamPayments(self, request: Empty, context: Any) -> AsyncIterator[pb.PaymentResponse]:
        current_actor().require_admin()
        with checking() as check:
            after = after_cursor(check, context.invocation_metadata())
        if after is None:
            after = await self._feed.last_cursor()
        # So that a client can resume whose stream broke before the first payment.
        await context.send_initial_metadata(((CURSOR_KEY, str(after)),))
        async with aclosing(self._feed.follow(after)) as payments:  # type: ignore[type-var] # a generator
            async for payment in payments:
                yield response_message(payment)

    async def _process(self, caller: Caller, request: pb.PaymentRequest) -> pb.PaymentResponse:
        with checking() as check:
            charge = charge_of(check, request, caller, self._now())
        charge = replace(charge, user_id=caller.payer(charge.user_id))
        return response_message(await self._payments.process(charge))

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
            listing = Listing("payments", request.user_id)
            page = listing.page(check, request)
        user_id = caller.payer(request.user_id)
        for item in listing.items(context, await self._payments.history(user_id, page)):
            yield payment_message(item)


def _caller() -> Caller:
    workload = current_workload()
    # Other workloads only pass on a user's token; the order service also acts without one.
    return Caller(current_actor(), order_service=workload is not None and workload.service == "order")
