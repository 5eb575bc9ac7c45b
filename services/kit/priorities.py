"""The admission priority of every method: checkout comes before browsing when a service is overloaded.

It is one table for all services, since a checkout passes through several of them. The operator's
MESH_ADMISSION_PRIORITIES overrides it, method by method. See mesh/docs/admission.md.
"""

from collections.abc import Mapping

#: Methods that place and pay an order, and those that everything else depends on. Rejected last.
_CRITICAL = {
    "OrderService": ("CreateOrder", "RecordRefund"),
    "PaymentService": ("ProcessPayment", "VoidPayment"),
    "ProductService": ("ReserveStock", "ReleaseStock"),
    # Without the keys no service verifies a token.
    "UserService": ("Login", "RefreshToken", "ExchangeToken", "GetVerificationKeys"),
}
#: Methods that a visitor can do without for a moment: lists, searches, chat, statistics. Rejected first.
_SHEDDABLE = {
    "OrderService": ("ListOrders",),
    "PaymentService": ("GetPaymentHistory", "StreamPayments"),
    "ProductService": ("ListProducts", "SearchProducts", "ChatWithProducts"),
    "UserService": ("ListUsers",),
    "NotificationService": ("ListNotifications", "StreamNotifications"),
    "ChatService": ("GetRoomHistory", "GetOnlineUsers"),
    # Events come before views of them: their senders repeat a rejected event until it is accepted.
    "AnalyticsService": ("GetMetrics", "StreamMetrics", "GetDashboard"),
}


def _by_name(priority: str, methods: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {f"ecommerce.{service}/{name}": priority for service, names in methods.items() for name in names}


#: The priority of each method. Every other method has `default`.
PRIORITIES: Mapping[str, str] = {**_by_name("critical", _CRITICAL), **_by_name("sheddable", _SHEDDABLE)}
