"""Converts protobuf to the domain and back. The form of requests is checked here, all fields at once."""

import math

from ecommerce import analytics_pb2 as pb
from google.protobuf import timestamp_pb2

from services.analytics.domain import (
    DASHBOARD,
    MAX_DASHBOARD,
    MAX_EVENT_ID,
    MAX_RANGE,
    METRICS,
    MINUTE,
    MONEY,
    ORDERS,
    RETENTION,
    REVENUE,
    SKEW,
    Dashboard,
    Event,
    Kind,
    Metric,
    minute_of,
)
from services.kit.money import from_cents
from services.kit.validation import Check

#: The most of one line or event. Nine hundred million times the largest amount (cents) is less than 2**63.
MAX_QUANTITY, MAX_AMOUNT = 1_000_000, 10_000_000_000
_KINDS = {number: Kind(name.removeprefix("EVENT_KIND_")) for name, number in pb.EventKind.items() if number}
_KNOWN = f"must be one of {', '.join(METRICS)}"


def event_of(check: Check, request: pb.EventRequest, now: float) -> Event:
    """Return the event of a request, and record violations in `check`.

    Without a timestamp it happened `now`.
    """
    check.choice("kind", request.kind, tuple(_KINDS))
    kind = _KINDS.get(request.kind, Kind.CART_CHANGED)
    for name in ("user_id", "order_id", "product_id"):
        check.integer(name, getattr(request, name))
    check.that(kind is not Kind.PRODUCT_VIEWED or request.product_id != 0, "product_id", "must be positive")
    return Event(
        check.text("event_id", request.event_id, least=1, most=MAX_EVENT_ID),
        kind,
        _time(check, request, now),
        request.product_id,
        request.order_id,
        check.integer("quantity", request.quantity, most=MAX_QUANTITY),
        check.cents("amount", request.amount, most=MAX_AMOUNT),
    )


def _time(check: Check, request: pb.EventRequest, now: float) -> float:
    if not request.HasField("timestamp"):
        return now
    at = _seconds(request.timestamp)
    days = RETENTION // 86400
    check.that(now - RETENTION <= at, "timestamp", f"must be at most {days} days ago")
    check.that(at <= now + SKEW, "timestamp", "must not be in the future")
    return at


def name_of(check: Check, field: str, name: str) -> str:
    """Return the name of a metric, and record in `check` if it is not known."""
    check.that(name in METRICS, field, _KNOWN)
    return name


def names_of(check: Check, names: list[str]) -> list[str]:
    """Return names of metrics, each once; none means all. Record violations in `check`."""
    check.that(len(names) <= len(METRICS), "names", f"must have at most {len(METRICS)} entries")
    checked = [name_of(check, f"names[{i}]", name) for i, name in enumerate(names[: len(METRICS)])]
    return list(dict.fromkeys(checked or METRICS))


def range_of(check: Check, request: pb.GetMetricsRequest, now: float) -> tuple[int, int]:
    """Return the minutes [start, end) that a request touches, in Unix seconds; by default the last hour."""
    end = _seconds(request.end) if request.HasField("end") else now + 1
    start = _seconds(request.start) if request.HasField("start") else end - 3600
    check.that(0 <= start <= now + RETENTION, "start", "is too far away")
    check.that(0 <= end <= now + RETENTION, "end", "is too far away")
    check.that(start <= end, "end", "must not be before start")
    check.that(end - start <= MAX_RANGE * MINUTE, "end", f"must be at most {MAX_RANGE} minutes after start")
    return minute_of(start), math.ceil(end / MINUTE) * MINUTE


def minutes_of(check: Check, minutes: int) -> int:
    """Return the number of minutes that a dashboard covers, and record violations in `check`."""
    return check.integer("minutes", minutes, most=MAX_DASHBOARD) or DASHBOARD


def metric_message(metric: Metric) -> pb.Metric:
    """Return the figure as a protobuf message."""
    place = metric.place
    value = from_cents(metric.value) if place.name in MONEY else float(metric.value)
    labels = {"product_id": str(place.product_id)} if place.product_id else {}
    at = timestamp_pb2.Timestamp(seconds=place.minute)
    return pb.Metric(name=place.name, value=value, timestamp=at, labels=labels, cursor=metric.cursor)


def dashboard_message(dashboard: Dashboard) -> pb.DashboardResponse:
    """Return the dashboard as a protobuf message."""
    return pb.DashboardResponse(
        orders=dashboard.totals.get(ORDERS, 0),
        revenue=from_cents(dashboard.totals.get(REVENUE, 0)),
        conversion=dashboard.conversion,
        top_products=[
            pb.TopProduct(product_id=s.product_id, quantity=s.units, revenue=from_cents(s.revenue))
            for s in dashboard.top
        ],
        by_minute=[metric_message(metric) for metric in dashboard.by_minute],
    )


def _seconds(stamp: timestamp_pb2.Timestamp) -> float:
    return stamp.seconds + stamp.nanos / 1e9
