"""What others are told of an order: its buyer, and those who count.

An order is told of when it has come to rest in a status: confirmed, shipped, delivered, cancelled,
refunded; each of them once. The steps between are in its history. `order-<id>-<version>` names the news
for good, so that whoever is told twice takes it once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from services.order.domain import Order, Status, Step

#: Topics of the outbox.
NOTIFICATIONS, ANALYTICS = "notifications", "analytics"


@dataclass(frozen=True, slots=True)
class News:
    """Something to be told to one receiver. The payload is JSON; `services.order.clients` reads it."""

    topic: str
    event_id: str
    payload: dict[str, Any]


def news_of(order: Order) -> Sequence[News]:
    """What to tell of an order that has just been changed; nothing, while a step is to be done."""
    if order.step is not Step.DONE:
        return []
    event_id = f"order-{order.id}-{order.version}"
    told = [News(NOTIFICATIONS, event_id, _notification(order))]
    if counted := _counted(order, event_id):
        told.append(News(ANALYTICS, event_id, {"events": counted}))
    return told


def _notification(order: Order) -> dict[str, Any]:
    title = f"Order {order.id} is {order.status.value.lower()}"
    return {"user_id": order.user_id, "title": title, "body": _body(order)}


def _body(order: Order) -> str:
    total = f"{order.total / 100:.2f}"
    match order.status:
        case Status.CONFIRMED:
            return f"Thank you. We have received your payment of {total}." if order.total else "Thank you."
        case Status.SHIPPED:
            return "It is on its way to you."
        case Status.DELIVERED:
            return "We hope that you like it."
        case Status.CANCELLED:
            reason = order.failure.error().message if order.failure else "As you asked for."
            return f"{reason[:300]} You get {total} back." if order.payment_id else reason[:300]
        case _:
            return f"You get {total} back."


def _counted(order: Order, event_id: str) -> list[dict[str, Any]]:
    """The analytics events, with amounts in cents."""
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
            return placed + _money(order, event_id, "PAYMENT_MADE")
        case Status.CANCELLED if order.was_confirmed:
            cancelled = _event(order, event_id, "ORDER_CANCELLED", order.total)
            return [cancelled, *_money(order, event_id, "PAYMENT_REFUNDED")]
        case Status.REFUNDED:
            return _money(order, event_id, "PAYMENT_REFUNDED")
        case _:
            return []


def _money(order: Order, event_id: str, kind: str) -> list[dict[str, Any]]:
    return [_event(order, f"{event_id}-payment", kind, order.total)] if order.total else []


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
