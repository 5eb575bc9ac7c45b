"""Which calls matter more than others where a service gets more than it can do: checkout before browsing.

One table for all services, since a checkout goes through several of them. The operator's
MESH_ADMISSION_PRIORITIES holds before it, method by method. See mesh/docs/admission.md.
"""

from collections.abc import Mapping

#: What places and pays an order, and what nobody can do anything without. Refused last.
_CRITICAL = {
    "OrderService": ("CreateOrder", "RecordRefund"),
    "PaymentService": ("ProcessPayment", "VoidPayment"),
    "ProductService": ("ReserveStock", "ReleaseStock"),
    # Without the keys no service verifies a token.
    "UserService": ("Login", "RefreshToken", "ExchangeToken", "GetVerificationKeys"),
}
#: What a visitor can do without for a moment: lists, searches, talk, statistics. Refused first.
_SHEDDABLE = {
    "OrderService": ("ListOrders",),
    "PaymentService": ("GetPaymentHistory", "StreamPayments"),
    "ProductService": ("ListProducts", "SearchProducts", "ChatWithProducts"),
    "UserService": ("ListUsers",),
    "NotificationService": ("ListNotifications", "StreamNotifications"),
    "ChatService": ("GetRoomHistory", "GetOnlineUsers"),
    # Before what people look at goes what services tell: it is sent again until it is taken.
    "AnalyticsService": ("GetMetrics", "StreamMetrics", "GetDashboard"),
}


def _by_name(priority: str, methods: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return {f"ecommerce.{service}/{name}": priority for service, names in methods.items() for name in names}


#: By method. Every other one has `default`.
PRIORITIES: Mapping[str, str] = {**_by_name("critical", _CRITICAL), **_by_name("sheddable", _SHEDDABLE)}
