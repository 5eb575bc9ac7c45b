"""The order service as the relay of the outbox sees it: see `services.payment.news`."""

import grpc
from ecommerce import order_pb2
from ecommerce.order_pb2_grpc import OrderServiceStub

from services.kit.money import from_cents
from services.kit.relay import OutboxEvent, Refused, Undelivered

#: Seconds for one delivery, below what the relay gives it.
TIMEOUT = 4.0


class RefundedOrders:
    """Tells OrderService what has been given back of an order's payment.

    Args:
        channel: A mesh channel to `order`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = OrderServiceStub(channel)

    async def __call__(self, event: OutboxEvent) -> None:
        """Raises Undelivered."""
        request = order_pb2.RecordRefundRequest(
            order_id=event.payload["order_id"],
            payment_id=event.payload["payment_id"],
            refunded_amount=from_cents(event.payload["refunded_cents"]),
        )
        try:
            await self._stub.RecordRefund(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            # INVALID_ARGUMENT alone means "whatever the state of the system".
            refused = e.code() is grpc.StatusCode.INVALID_ARGUMENT
            raise (Refused if refused else Undelivered)(f"{e.code().name}: {e.details()}") from None
