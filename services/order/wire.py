"""Converts protobuf to the domain and back. The form of requests is checked here, all fields at once."""

from ecommerce import common_pb2, payment_pb2
from ecommerce import order_pb2 as pb
from google.protobuf import timestamp_pb2

from services.kit.money import from_cents
from services.kit.validation import Check
from services.order.domain import (
    MAX_ITEMS,
    MAX_KEY,
    MAX_QUANTITY,
    MAX_TOTAL,
    Address,
    Event,
    Instrument,
    Line,
    Order,
    Status,
    merged,
)

_STATUSES = {
    pb.ORDER_STATUS_PENDING: Status.PENDING,
    pb.ORDER_STATUS_CONFIRMED: Status.CONFIRMED,
    pb.ORDER_STATUS_SHIPPED: Status.SHIPPED,
    pb.ORDER_STATUS_DELIVERED: Status.DELIVERED,
    pb.ORDER_STATUS_CANCELLED: Status.CANCELLED,
    pb.ORDER_STATUS_REFUNDED: Status.REFUNDED,
}
_STATUS_NUMBERS = {status: number for number, status in _STATUSES.items()}
_METHODS = tuple(number for number in payment_pb2.PaymentMethod.values() if number)
_ADDRESS_FIELDS = ("street", "city", "state", "zip_code", "country")


def order_of(check: Check, request: pb.CreateOrderRequest, now: float) -> Order:
    """Return the order that a request asks for, and record violations in `check`."""
    return Order(
        id=0,
        user_id=check.id("user_id", request.user_id),
        lines=_lines(check, request),
        address=_address(check, request.shipping_address),
        key=check.text("idempotency_key", request.idempotency_key, most=MAX_KEY) or None,
        on_file=not request.HasField("payment"),
        expected=_expected(check, request),
        created_at=now,
        updated_at=now,
        lease_until=now,
    )


def _lines(check: Check, request: pb.CreateOrderRequest) -> tuple[Line, ...]:
    check.that(0 < len(request.items) <= MAX_ITEMS, "items", f"must have from 1 to {MAX_ITEMS} entries")
    lines = [
        Line(
            check.id(f"items[{i}].product_id", item.product_id),
            check.integer(f"items[{i}].quantity", item.quantity, 1, MAX_QUANTITY),
        )
        for i, item in enumerate(request.items[:MAX_ITEMS])
    ]
    together = merged(lines)
    if not check.violations:
        too_many = any(line.quantity > MAX_QUANTITY for line in together)
        check.that(not too_many, "items", f"must have at most {MAX_QUANTITY} of one product")
    return together


def _expected(check: Check, request: pb.CreateOrderRequest) -> int | None:
    if not request.HasField("expected_total"):
        return None
    return check.cents("expected_total", request.expected_total, most=MAX_TOTAL)


def _address(check: Check, address: common_pb2.Address) -> Address:
    # A client that knows only the contract may send none; what it sends must fit on a label.
    texts = {
        name: check.text(f"shipping_address.{name}", getattr(address, name), most=200)
        for name in _ADDRESS_FIELDS
    }
    return Address(**texts)


def instrument_of(check: Check, request: pb.CreateOrderRequest) -> Instrument | None:
    """Return the buyer's means of payment, or None for the wallet on file.

    The payment service checks its contents.
    """
    if not request.HasField("payment"):
        return None
    check.choice("payment.method", request.payment.method, _METHODS, optional=True)
    check.that(request.payment.WhichOneof("instrument") is not None, "payment.instrument", "must be given")
    return Instrument(request.payment.SerializeToString())


def status_of(check: Check, number: int, *, optional: bool = False) -> Status | None:
    """Return the status of a request, or None if it is UNSPECIFIED or not known."""
    check.choice("status", number, tuple(_STATUSES), optional=optional)
    return _STATUSES.get(number)  # type: ignore[call-overload,no-any-return]


def order_message(order: Order) -> pb.Order:
    """Return the order as a protobuf message."""
    address = {name: getattr(order.address, name) for name in _ADDRESS_FIELDS}
    return pb.Order(
        id=order.id,
        user_id=order.user_id,
        items=[_item(line) for line in order.lines],
        total_amount=from_cents(order.total),
        status=_STATUS_NUMBERS[order.status],
        shipping_address=common_pb2.Address(**address) if any(address.values()) else None,
        created_at=_timestamp(order.created_at),
        updated_at=_timestamp(order.updated_at),
        payment_id=order.payment_id,
        cursor=order.version,
        refunded_amount=from_cents(order.refunded),
    )


def _item(line: Line) -> pb.OrderItem:
    return pb.OrderItem(
        product_id=line.product_id,
        product_name=line.name,
        quantity=line.quantity,
        unit_price=from_cents(line.unit_price),
        total_price=from_cents(line.total),
    )


def update_message(event: Event) -> pb.OrderUpdate:
    """Return the change as a protobuf message."""
    return pb.OrderUpdate(
        order_id=event.order_id,
        status=_STATUS_NUMBERS[event.status],
        message=event.message,
        timestamp=_timestamp(event.at),
        cursor=event.cursor,
        refunded_amount=from_cents(event.refunded),
    )


def _timestamp(seconds: float) -> timestamp_pb2.Timestamp:
    stamp = timestamp_pb2.Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp
