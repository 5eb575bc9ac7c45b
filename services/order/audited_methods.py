"""The methods of OrderService that are written to the audit log.

They are the changes that admins make to orders, and the orders that they place for others.
"""

from collections.abc import Mapping

from ecommerce import order_pb2 as pb

from services.kit.audit import AuditedMethod


def _status(request: pb.UpdateOrderStatusRequest) -> str:
    known = request.status in pb.OrderStatus.values()
    return pb.OrderStatus.Name(request.status).removeprefix("ORDER_STATUS_") if known else str(request.status)


AUDITED: Mapping[str, AuditedMethod] = {
    "CreateOrder": AuditedMethod(
        "order",
        detail=lambda request: f"for user {request.user_id}",
        applies=lambda request, admin: request.user_id != admin,
    ),
    "UpdateOrderStatus": AuditedMethod("order", lambda request: request.id, _status),
}
