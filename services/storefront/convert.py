"""Converts protobuf to the domain and back, and a failed call to a `ShopError`. No business rules."""

from datetime import UTC, datetime

import grpc
from ecommerce import common_pb2, notification_pb2, order_pb2, payment_pb2, product_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2, status_pb2

from grpcmesh.errors import MeshError
from grpcmesh.status import code_of, from_wire
from services.storefront.domain import (
    Address,
    Card,
    Category,
    Line,
    Notice,
    Order,
    Place,
    Problem,
    Product,
    ShopError,
    Status,
    Update,
)

_PROBLEMS = {
    grpc.StatusCode.INVALID_ARGUMENT: Problem.INVALID,
    grpc.StatusCode.NOT_FOUND: Problem.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS: Problem.EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION: Problem.RULE,
    grpc.StatusCode.ABORTED: Problem.UNAVAILABLE,
    grpc.StatusCode.UNAUTHENTICATED: Problem.LOGIN,
    grpc.StatusCode.PERMISSION_DENIED: Problem.FORBIDDEN,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Problem.BUSY,
    grpc.StatusCode.UNAVAILABLE: Problem.UNAVAILABLE,
    grpc.StatusCode.UNIMPLEMENTED: Problem.UNSUPPORTED,
    grpc.StatusCode.DEADLINE_EXCEEDED: Problem.TIMEOUT,
}


def error(failure: grpc.aio.AioRpcError | MeshError) -> ShopError:
    """Return the `ShopError` for a failed call."""
    if isinstance(failure, MeshError):
        return ShopError(_PROBLEMS.get(code_of(failure), Problem.BROKEN), failure.message)
    problem = _PROBLEMS.get(failure.code(), Problem.BROKEN)
    status = from_wire(failure.trailing_metadata()) or status_pb2.Status()
    bad, info, retry = (
        error_details_pb2.BadRequest(),
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
    )
    for detail in status.details:
        for known in (bad, info, retry):
            detail.Unpack(known)
    return ShopError(
        problem,
        failure.details() or "",
        fields={v.field: v.description for v in bad.field_violations},
        reason=info.reason,
        facts=dict(info.metadata),
        retry_after=retry.retry_delay.ToNanoseconds() / 1e9 if retry.HasField("retry_delay") else None,
    )


def page_number(place: Place) -> int:
    """Return the `page` of a request for a place. A request with a token must not have one."""
    return 0 if place.token else place.page


def category_to_wire(category: Category | None) -> str:
    return f"PRODUCT_CATEGORY_{category.name if category else 'UNSPECIFIED'}"


def category(wire: int) -> Category | None:
    """Return the category, or None for UNSPECIFIED and for unknown values."""
    return {product_pb2.ProductCategory.Value(category_to_wire(c)): c for c in Category}.get(wire)


def status_to_wire(status: Status) -> str:
    return f"ORDER_STATUS_{status.name}"


def status(wire: int) -> Status:
    return {order_pb2.OrderStatus.Value(status_to_wire(s)): s for s in Status}.get(wire, Status.PENDING)


def product(wire: product_pb2.Product) -> Product:
    return Product(
        id=wire.id,
        name=wire.name,
        description=wire.description,
        price_cents=round(wire.price * 100),
        stock=wire.stock,
        category=category(wire.category),
        tags=tuple(wire.tags),
    )


def order(wire: order_pb2.Order) -> Order:
    return Order(
        id=wire.id,
        user_id=wire.user_id,
        lines=tuple(_line(item) for item in wire.items),
        total_cents=round(wire.total_amount * 100),
        status=status(wire.status),
        address=_address(wire.shipping_address),
        created_at=_time(wire.created_at),
        updated_at=_time(wire.updated_at),
        payment_id=wire.payment_id,
        cursor=wire.cursor,
        refunded_cents=round(wire.refunded_amount * 100),
    )


def update(wire: order_pb2.OrderUpdate) -> Update:
    return Update(
        wire.order_id,
        status(wire.status),
        wire.message,
        _time(wire.timestamp),
        wire.cursor,
        round(wire.refunded_amount * 100),
    )


def notice(wire: notification_pb2.Notification) -> Notice:
    return Notice(wire.title, wire.body, _time(wire.created_at))


def card_to_wire(card: Card) -> payment_pb2.PaymentInstrument:
    return payment_pb2.PaymentInstrument(
        method=payment_pb2.PAYMENT_METHOD_CREDIT_CARD,
        credit_card=payment_pb2.CreditCard(number=card.number, expiry=card.expiry, cvv=card.cvv),
    )


def _line(item: order_pb2.OrderItem) -> Line:
    unit, total = round(item.unit_price * 100), round(item.total_price * 100)
    return Line(item.product_id, item.product_name, item.quantity, unit, total)


def _address(wire: common_pb2.Address) -> Address:
    return Address(wire.street, wire.city, wire.state, wire.zip_code, wire.country)


def _time(wire: Timestamp) -> datetime:
    return wire.ToDatetime(tzinfo=UTC)
