"""What the databases say, all of them together. Amounts are integer cents."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

#: Statuses of orders whose goods have left the shelf, and of those that are paid.
SOLD = frozenset({"CONFIRMED", "SHIPPED", "DELIVERED", "REFUNDED"})
PAID = frozenset({"CONFIRMED", "SHIPPED", "DELIVERED"})
#: Statuses of payments that the acquirer has charged. UNDONE: and paid back, as its batch failed.
CHARGED = frozenset({"COMPLETED", "REFUNDED", "UNDONE"})


@dataclass(frozen=True, slots=True)
class Order:
    """Of the order service."""

    id: int
    user_id: int
    key: str | None
    status: str
    step: str
    total: int
    payment_id: int
    attempts: int
    version: int
    created_at: float
    """Unix seconds, by the clock of the replica that took it."""

    @property
    def done(self) -> bool:
        """Nothing is left to do."""
        return self.step == "DONE"

    @property
    def saga_key(self) -> str:
        """Under which stock and money are held for it."""
        return f"order-{self.id}"


@dataclass(frozen=True, slots=True)
class Item:
    """A line of an order."""

    order_id: int
    product_id: int
    quantity: int
    unit_price: int


@dataclass(frozen=True, slots=True)
class Change:
    """An entry of an order's history."""

    order_id: int
    cursor: int
    status: str
    #: Unix seconds.
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Payment:
    """Of the payment service. The key of an order's is `order/order-ID`."""

    id: int
    order_id: int
    amount: int
    refunded: int
    status: str
    key: str | None


@dataclass(frozen=True, slots=True)
class Refund:
    """Of the payment service."""

    id: str
    payment_id: int
    amount: int
    settled: bool


@dataclass(frozen=True, slots=True)
class Entry:
    """Of the acquirer's own ledger."""

    reference: str
    kind: str
    amount: int
    approved: bool


@dataclass(frozen=True, slots=True)
class Product:
    """Of the product service. `edited`: an admin has changed it, so that its stock has no known beginning."""

    id: int
    stock: int
    edited: bool = False


@dataclass(frozen=True, slots=True)
class Books:
    """Everything that has to add up. Read in this order: what comes later may be newer."""

    orders: Sequence[Order] = ()
    items: Sequence[Item] = ()
    history: Sequence[Change] = ()
    #: Ids of the events that are still to be told to the notification service.
    outbox: Sequence[str] = ()
    #: What a receiver refused for good, such as `order-7-3 for analytics: INVALID_ARGUMENT: …`.
    dead_letters: Sequence[str] = ()
    payments: Sequence[Payment] = ()
    refunds: Sequence[Refund] = ()
    ledger: Sequence[Entry] = ()
    products: Sequence[Product] = ()
    #: By key: whether it was given back.
    reservations: Mapping[str, bool] = field(default_factory=dict)
    #: By key: quantities by product.
    reserved: Mapping[str, Counter[int]] = field(default_factory=dict)
    #: What each product of the catalogue began with.
    seeded: Mapping[int, int] = field(default_factory=dict)
    #: Event ids; None where the shop has no notifications.
    notifications: Sequence[str] | None = None
    #: Notifications of what happened before that (Unix seconds) may have been dropped.
    notified_since: float = 0.0

    @property
    def last_order(self) -> int:
        """The highest id of an order; what belongs to a later one is newer than these books."""
        return max((order.id for order in self.orders), default=0)
