"""What of PaymentService goes into the audit log: refunds, and what admins pay for others."""

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
