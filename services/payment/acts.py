"""The methods of PaymentService that are written to the audit log: refunds, and payments that admins make for
others.
"""

from collections.abc import Mapping

from services.kit.audit import Act

ACTS: Mapping[str, Act] = {
    "RefundPayment": Act(
        "payment",
        lambda request: request.payment_id,
        lambda request: f"{request.amount:.2f}: {request.reason}",
    ),
    "ProcessPayment": Act(
        "payment", detail=lambda request: f"{request.amount:.2f}, order {request.order_id}"
    ),
}
