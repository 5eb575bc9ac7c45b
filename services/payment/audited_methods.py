"""The methods of PaymentService that are written to the audit log: refunds, and payments that admins make for
others.
"""

from collections.abc import Mapping

from services.kit.audit import AuditedMethod

AUDITED: Mapping[str, AuditedMethod] = {
    "RefundPayment": AuditedMethod(
        "payment",
        lambda request: request.payment_id,
        lambda request: f"{request.amount:.2f}: {request.reason}",
    ),
    "ProcessPayment": AuditedMethod(
        "payment", detail=lambda request: f"{request.amount:.2f}, order {request.order_id}"
    ),
}
