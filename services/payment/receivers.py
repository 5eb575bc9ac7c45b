"""Delivers the outbox events of payments (`services.payment.outbox_events`) to the order service."""

import grpc
from ecommerce import order_pb2
from ecommerce.order_pb2_grpc import OrderServiceStub

from services.kit.money import from_cents
from services.kit.relay import OutboxEvent, Refused, Undelivered

#: Timeout of one delivery in seconds, below the relay's own.
TIMEOUT = 4.0


class RefundedOrders:
    """Tells OrderService how much of an order's payment has been refunded.

    Args:
        channel: A mesh channel to `order`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = OrderServiceStub(channel)

    async def __call__(self, event: OutboxEvent) -> None:
        """Deliver an event. Raises Undelivered."""
        request = order_pb2.RecordRefundRequest(
            order_id=event.payload["order_id"],
            payment_id=event.payload["payment_id"],
            refunded_amount=from_cents(event.payload["refunded_cents"]),
        )
        try:
            await self._stub.RecordRefund(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            # INVALID_ARGUMENT is the one code that does not depend on the state of the system.
            refused = e.code() is grpc.StatusCode.INVALID_ARGUMENT
            raise (Refused if refused else Undelivered)(f"{e.code().name}: {e.details()}") from None
