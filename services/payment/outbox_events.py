"""The outbox events that tell orders how much of their payment has been refunded in all.

The amount only grows, so late, repeated and reordered events do no harm.
"""

from collections.abc import Mapping
from typing import Any

from services.kit import outbox
from services.payment.domain import Payment

#: The topic of the outbox.
ORDERS = "orders"
#: The prefix of the order service's keys, see `services.payment.domain.Caller.scoped`.
_OF_ORDERS = "order/"


def refund_events(payment: Payment, refund_id: str, now: float) -> list[Mapping[str, Any]]:
    """Return the outbox rows for a refund: none if the payment is not an order's.

    Args:
        payment: The payment after the refund.
        refund_id: The refund.
        now: Unix seconds.
    """
    if payment.key is None or not payment.key.startswith(_OF_ORDERS):
        return []
    payload = {"order_id": payment.order_id, "payment_id": payment.id, "refunded_cents": payment.refunded}
    return [outbox.row(ORDERS, payment.reference, refund_id, payload, now)]
