"""Events, and the figures that they add up to."""

import enum
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

MINUTE = 60
#: Seconds by which an event may be late, and for which it is remembered so that it is counted once;
#: figures are kept as long.
RETENTION = 30 * 24 * 3600
#: Seconds by which the clock of an event's sender may be ahead.
SKEW = 300
#: The most minutes that one request may cover, and the most figures that one answer may hold.
MAX_RANGE, MAX_POINTS = 7 * 24 * 60, 10_000
#: The minutes of a dashboard, by default and at most, and the number of products it lists.
DASHBOARD, MAX_DASHBOARD, TOP = 60, 24 * 60, 10
MAX_EVENT_ID = 100

ORDERS, REVENUE, VIEWS = "orders", "revenue", "product_views"
UNITS_BY_PRODUCT, REVENUE_BY_PRODUCT = "product_units", "product_revenue"
CANCELLED, PAYMENTS, REFUNDS = "orders_cancelled", "payments", "refunds"
SEARCHES, CART_CHANGES = "searches", "cart_changes"
#: Metrics that are amounts of money, kept in cents.
MONEY = frozenset({REVENUE, REVENUE_BY_PRODUCT, PAYMENTS, REFUNDS})
METRICS = (
    *(ORDERS, REVENUE, VIEWS, UNITS_BY_PRODUCT, REVENUE_BY_PRODUCT),
    *(CANCELLED, PAYMENTS, REFUNDS, SEARCHES, CART_CHANGES),
)


class Kind(enum.Enum):
    """The kind of an event."""

    PRODUCT_VIEWED = "PRODUCT_VIEWED"
    PRODUCT_SEARCHED = "PRODUCT_SEARCHED"
    CART_CHANGED = "CART_CHANGED"
    #: One line of an order; `amount` is the line's. The order is counted with the first of its lines.
    ORDER_PLACED = "ORDER_PLACED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    PAYMENT_MADE = "PAYMENT_MADE"
    PAYMENT_REFUNDED = "PAYMENT_REFUNDED"


#: Kinds that only the services that keep the books may report.
BOOKED = frozenset({Kind.ORDER_PLACED, Kind.ORDER_CANCELLED, Kind.PAYMENT_MADE, Kind.PAYMENT_REFUNDED})
_COUNTS = {
    Kind.PRODUCT_VIEWED: VIEWS,
    Kind.PRODUCT_SEARCHED: SEARCHES,
    Kind.CART_CHANGED: CART_CHANGES,
    Kind.ORDER_CANCELLED: CANCELLED,
}
_SUMS = {Kind.ORDER_PLACED: REVENUE, Kind.PAYMENT_MADE: PAYMENTS, Kind.PAYMENT_REFUNDED: REFUNDS}


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. Ids are 0 if they do not apply."""

    event_id: str
    kind: Kind
    #: Unix seconds.
    at: float
    product_id: int = 0
    order_id: int = 0
    quantity: int = 0
    #: Cents.
    amount: int = 0

    @property
    def minute(self) -> int:
        return minute_of(self.at)


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Identifies a figure: a metric in one minute (Unix seconds at its start), of one product or of
    all (0).
    """

    name: str
    minute: int
    product_id: int = 0


@dataclass(frozen=True, slots=True)
class Metric:
    """A figure as it is now.

    `cursor` is the number of its last change; changes of all figures are counted together.
    """

    place: Place
    #: In cents, for metrics in `MONEY`.
    value: int
    cursor: int = 0


@dataclass(frozen=True, slots=True)
class Sales:
    """The sales of a product."""

    product_id: int
    units: int
    #: Cents.
    revenue: int


@dataclass(frozen=True, slots=True)
class Dashboard:
    """The shop at a glance."""

    totals: Mapping[str, int] = field(default_factory=dict)
    top: Sequence[Sales] = ()
    by_minute: Sequence[Metric] = ()

    @property
    def conversion(self) -> float:
        """Return orders per product view, at most 1: a customer who returns to buy may not view anything
        first.
        """
        views = self.totals.get(VIEWS, 0)
        return min(self.totals.get(ORDERS, 0) / views, 1.0) if views else 0.0


def minute_of(at: float) -> int:
    """Return the start of the minute that contains a time, in Unix seconds."""
    return int(at // MINUTE) * MINUTE


def tally(events: Sequence[Event], new_orders: Collection[int]) -> Mapping[Place, int]:
    """Return what the events add to each figure.

    Args:
        events: Events, none of which has been counted.
        new_orders: The ids of those orders of which no line has been counted.
    """
    uncounted, added = set(new_orders), defaultdict[Place, int](int)
    for event in events:
        if name := _COUNTS.get(event.kind):
            added[Place(name, event.minute)] += 1
        if name := _SUMS.get(event.kind):
            added[Place(name, event.minute)] += event.amount
        if event.kind is Kind.ORDER_PLACED:
            if event.order_id in uncounted or not event.order_id:
                added[Place(ORDERS, event.minute)] += 1
                uncounted.discard(event.order_id)
            if event.product_id:
                added[Place(UNITS_BY_PRODUCT, event.minute, event.product_id)] += event.quantity
                added[Place(REVENUE_BY_PRODUCT, event.minute, event.product_id)] += event.amount
    return {place: more for place, more in added.items() if more}
