"""The outbox events of orders, for the buyer, for analytics and for the catalogue.

An order has an event when it reaches a status in which no step is left (confirmed, shipped, delivered,
cancelled, refunded), and when a part of its payment has been refunded. The steps between are only in its
history. The event id, `order-<id>-<version>`, never changes, so that a receiver accepts a repeated event
once. The catalogue is told, once, that the goods have left.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.kit.money import from_cents
from services.order.domain import Order, Status, Step

#: Topics of the outbox.
NOTIFICATIONS, ANALYTICS, STOCK = "notifications", "analytics", "stock"


@dataclass(frozen=True, slots=True)
class OutgoingEvent:
    """An event for one receiver. The payload is JSON; `services.order.receivers` reads it."""

    topic: str
    event_id: str
    payload: dict[str, Any]


def outbox_events_of(order: Order, *, repaid: int = 0, arrived: bool = True) -> Sequence[OutgoingEvent]:
    """Return the events of an order that has just been changed; none while a step is left.

    Args:
        order: The changed order.
        repaid: Cents refunded with the change.
        arrived: Whether the change brought the order into its status.
    """
    if order.step is not Step.DONE:
        return []
    event_id = f"order-{order.id}-{order.version}"
    notification = _arrival(order, repaid) if arrived else _partial_refund(order, repaid)
    events = [OutgoingEvent(NOTIFICATIONS, event_id, {"user_id": order.user_id, **notification})]
    counted = _counted(order, event_id) if arrived else []
    counted += _money(order, event_id, "PAYMENT_REFUNDED", repaid if order.was_confirmed else 0)
    if counted:
        events.append(OutgoingEvent(ANALYTICS, event_id, {"events": counted}))
    if arrived and order.status is Status.SHIPPED:
        events.append(shipping(order.saga_key))
    return events


def shipping(saga_key: str) -> OutgoingEvent:
    """Return the event that tells the catalogue of a shipped order."""
    return OutgoingEvent(STOCK, f"{saga_key}-shipped", {"key": saga_key})


def _arrival(order: Order, repaid: int) -> dict[str, Any]:
    return {
        "title": f"Order {order.id} is {order.status.value.lower()}",
        "body": _body(order, from_cents(repaid) if repaid else 0.0),
    }


def _partial_refund(order: Order, repaid: int) -> dict[str, Any]:
    return {
        "title": f"Order {order.id}: {from_cents(repaid):.2f} given back",
        "body": f"You get {from_cents(repaid):.2f} back. Nothing else changes.",
    }


def _body(order: Order, repaid: float) -> str:
    total = f"{from_cents(order.total):.2f}"
    back = f"You get {repaid:.2f} back." if repaid else ""
    match order.status:
        case Status.CONFIRMED:
            return f"Thank you. We have received your payment of {total}." if order.total else "Thank you."
        case Status.SHIPPED:
            return "It is on its way to you."
        case Status.DELIVERED:
            return "We hope that you like it."
        case Status.CANCELLED:
            reason = order.failure.error().message if order.failure else "As you asked for."
            return f"{reason[:300]} {back}".strip()
        case _:
            return back or "You have got everything back."


def _counted(order: Order, event_id: str) -> list[dict[str, Any]]:
    """Return the analytics events, with amounts in cents."""
    match order.status:
        case Status.CONFIRMED:
            placed = [
                _event(
                    order,
                    f"{event_id}-{place}",
                    "ORDER_PLACED",
                    line.total,
                    product_id=line.product_id,
                    quantity=line.quantity,
                )
                for place, line in enumerate(order.lines)
            ]
            return placed + _money(order, event_id, "PAYMENT_MADE", order.total)
        case Status.CANCELLED if order.was_confirmed:
            return [_event(order, event_id, "ORDER_CANCELLED", order.total)]
        case _:
            return []


def _money(order: Order, event_id: str, kind: str, cents: int) -> list[dict[str, Any]]:
    return [_event(order, f"{event_id}-payment", kind, cents)] if cents else []


def _event(order: Order, event_id: str, kind: str, cents: int, **more: int) -> dict[str, Any]:
    return {
        "event_id": event_id,
        "kind": kind,
        "user_id": order.user_id,
        "order_id": order.id,
        "cents": cents,
        "at": order.updated_at,
        **more,
    }
