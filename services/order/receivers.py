"""The services that receive the outbox events of orders, and how they are delivered: see
`services.order.outbox_events`.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import grpc
from ecommerce import analytics_pb2, notification_pb2, product_pb2
from ecommerce.analytics_pb2_grpc import AnalyticsServiceStub
from ecommerce.notification_pb2_grpc import NotificationServiceStub
from ecommerce.product_pb2_grpc import ProductServiceStub

from services.kit.money import from_cents
from services.kit.relay import OutboxEvent, Refused, Undelivered

#: Timeout of one delivery in seconds, below the relay's own.
TIMEOUT = 4.0


class BuyersNotifications:
    """Sends notifications through NotificationService, which accepts an event id once.

    Args:
        channel: A mesh channel to `notification`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = NotificationServiceStub(channel)

    async def __call__(self, event: OutboxEvent) -> None:
        """Deliver an event. Raises Undelivered."""
        request = notification_pb2.NotificationRequest(
            event_id=event.event_id, kind=notification_pb2.NOTIFICATION_KIND_ORDER, **event.payload
        )
        try:
            await self._stub.SendNotification(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            raise _undelivered(e) from None


class ShopAnalytics:
    """Reports events to AnalyticsService, which counts an event id once.

    Args:
        channel: A mesh channel to `analytics`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = AnalyticsServiceStub(channel)

    async def __call__(self, event: OutboxEvent) -> None:
        """Deliver an event. Raises Undelivered."""
        try:
            await self._stub.TrackEvents(_requests(event), timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            raise _undelivered(e) from None


class ShippedStock:
    """Tells ProductService that an order's reserved stock has left. Repeating it has no effect.

    Args:
        channel: A mesh channel to `product`.
    """

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = ProductServiceStub(channel)

    async def __call__(self, event: OutboxEvent) -> None:
        """Deliver an event. Raises Undelivered."""
        request = product_pb2.ShipStockRequest(key=event.payload["key"])
        try:
            await self._stub.ShipStock(request, timeout=TIMEOUT)
        except grpc.aio.AioRpcError as e:
            raise _undelivered(e) from None


def _requests(event: OutboxEvent) -> Iterator[analytics_pb2.EventRequest]:
    return (_request(counted) for counted in event.payload["events"])


def _request(counted: Mapping[str, Any]) -> analytics_pb2.EventRequest:
    values = dict(counted)
    kind = f"EVENT_KIND_{values.pop('kind')}"
    amount, at = from_cents(values.pop("cents")), values.pop("at")
    request = analytics_pb2.EventRequest(kind=kind, amount=amount, **values)
    request.timestamp.FromMicroseconds(round(at * 1e6))
    return request


def _undelivered(error: grpc.aio.AioRpcError) -> Undelivered:
    # The one code that does not depend on the state of the system. A call that a policy denies, for example,
    # may be allowed once the policy is fixed.
    refused = error.code() is grpc.StatusCode.INVALID_ARGUMENT
    return (Refused if refused else Undelivered)(f"{error.code().name}: {error.details()}")
