"""What orders are told of their payments: how much has been given back in all.

The amount only grows, so an order that is told late, twice or out of order knows what is right.
"""

from collections.abc import Mapping
from typing import Any

from services.kit import outbox
from services.payment.domain import Payment

#: Topic of the outbox.
ORDERS = "orders"
#: How the keys of the order service begin, see `services.payment.domain.Caller.scoped`.
_OF_ORDERS = "order/"


def refund_news(payment: Payment, refund_id: str, now: float) -> list[Mapping[str, Any]]:
    """Return the rows of the outbox for a refund: none if the payment is not an order's.

    Args:
        payment: As it is after the refund.
        now: Unix seconds.
    """
    if payment.key is None or not payment.key.startswith(_OF_ORDERS):
        return []
    payload = {"order_id": payment.order_id, "payment_id": payment.id, "refunded_cents": payment.refunded}
    return [outbox.row(ORDERS, payment.reference, refund_id, payload, now)]
