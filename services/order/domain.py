"""Orders, and the steps of placing and undoing one.

Amounts are integer cents, times are Unix seconds. An order's `step` is the next step to do, and is recorded
before it is done. `version` grows with every change. Every change names the version that it changes, so that
of two replicas that work on an order only one succeeds.
"""

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from grpcmesh.errors import (
    FailedPrecondition,
    FieldViolation,
    InvalidArgument,
    MeshError,
)
from services.order.failures import Failure, price_changed

#: The largest total of an order, in cents: ten million in currency units, the largest single charge.
MAX_TOTAL = 1_000_000_000
MAX_ITEMS = 100
MAX_QUANTITY = 1000
#: The longest idempotency key.
MAX_KEY = 100
#: Seconds for which a replica leases an order before another may take it over; each step renews the lease.
LEASE = 6.0
#: The longest backoff of recovery between two attempts at an order, in seconds.
MAX_BACKOFF = 60.0


class Status(enum.Enum):
    """The status of an order."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"


class Step(enum.Enum):
    """The next step of an order."""

    RESERVE = "RESERVE"
    CHARGE = "CHARGE"
    #: Release the stock, void the payment; then the order is CANCELLED.
    CANCEL = "CANCEL"
    #: Release the stock unless it has shipped, void the payment; then the order is REFUNDED.
    REFUND = "REFUND"
    DONE = "DONE"


#: The changes that may be requested. A full refund makes any order REFUNDED that is not final:
#: `Order.repaid`.
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.CONFIRMED, Status.CANCELLED}),
    Status.CONFIRMED: frozenset({Status.SHIPPED, Status.CANCELLED}),
    Status.SHIPPED: frozenset({Status.DELIVERED}),
    Status.DELIVERED: frozenset({Status.REFUNDED}),
    Status.CANCELLED: frozenset(),
    Status.REFUNDED: frozenset(),
}
#: The statuses that no other follows.
FINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)


@dataclass(frozen=True, slots=True)
class Address:
    """A shipping address. All fields are empty if none was given."""

    street: str = ""
    city: str = ""
    state: str = ""
    zip_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity of one product. Name and price are set from the catalogue when the stock is reserved."""

    product_id: int
    quantity: int
    name: str = ""
    unit_price: int = 0

    @property
    def total(self) -> int:
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class Instrument:
    """The buyer's means of payment, sealed: orders pass it to the payment service and never read, store or
    print it.
    """

    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Buyer:
    """A buyer who waits for an order to be placed. If `instrument` is None, the wallet on file pays."""

    instrument: Instrument | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order. `id` is 0 until it is recorded."""

    id: int
    user_id: int
    lines: tuple[Line, ...]
    address: Address
    key: str | None
    #: Whether the wallet on file pays; otherwise the buyer's instrument, which is not kept.
    on_file: bool
    created_at: float
    updated_at: float
    lease_until: float
    status: Status = Status.PENDING
    step: Step = Step.RESERVE
    total: int = 0
    payment_id: int = 0
    failure: Failure | None = None
    attempts: int = 0
    version: int = 1
    #: Cents of the total that have been refunded.
    refunded: int = 0
    #: The total that the buyer was shown; None if it did not say.
    expected: int | None = None
    #: Whether the catalogue has been told that the goods have left. None means that this must be checked: an
    #: older version, which does not tell the catalogue, may have shipped it.
    ship_told: bool | None = False

    @property
    def saga_key(self) -> str:
        """Return the idempotency key of each step at the other services."""
        return f"order-{self.id}"

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def was_confirmed(self) -> bool:
        """Return whether the order was ever confirmed.

        A free order that is cancelled during checkout counts, too.
        """
        return bool(self.payment_id) or (not self.total and self.failure is None)

    def priced(self, lines: tuple[Line, ...]) -> "Order":
        """Return the order once its stock is reserved, with the catalogue's names and prices.

        Its next step is the charge; a free order is confirmed at once. It is cancelled if the total is too
        large or differs from the one that the buyer was shown.
        """
        total = sum(line.total for line in lines)
        order = replace(self, lines=lines, total=total, step=Step.CHARGE)
        if total > MAX_TOTAL:
            return order.cancelling(FailedPrecondition("the order's total is too large", "ORDER_TOO_LARGE"))
        if self.expected not in (None, total):
            return order.cancelling(price_changed(self.expected or 0, total))
        return order if total else order.confirmed(0)

    def confirmed(self, payment_id: int) -> "Order":
        """Return the order as paid and confirmed."""
        return replace(self, payment_id=payment_id, status=Status.CONFIRMED, step=Step.DONE)

    def cancelling(self, error: MeshError | None = None) -> "Order":
        """Return the order to be cancelled, because of an error or on request.

        After a transient error its idempotency key is released, so that a retry with it places a new order.
        """
        failure = Failure.of(error) if error else None
        key = None if failure and failure.transient else self.key
        return replace(self, step=Step.CANCEL, failure=failure, key=key)

    def refunding(self) -> "Order":
        """Return the order to be refunded."""
        return replace(self, step=Step.REFUND)

    def repaid(self, refunded: int) -> "Order | None":
        """Return the order after `refunded` cents of its payment have been refunded in all. None if that is
        no news.

        The order must have no step left. Late, repeated and reordered reports have no effect, because the
        amount that is refunded only grows.
        """
        if refunded <= self.refunded:
            return None
        if refunded >= self.total and not self.final:
            return self.refunding()  # the amount is recorded when that is done
        return replace(self, refunded=refunded)

    def moved(self, status: Status) -> "Order":
        """Return the order with the next status and no step to do."""
        return replace(self, status=status, ship_told=status is Status.SHIPPED or self._ship_told())

    def undone(self, refunded: int) -> "Order":
        """Return the order after its step, CANCEL or REFUND.

        `refunded` is what has been refunded in all, in cents.
        """
        status = Status.CANCELLED if self.step is Step.CANCEL else Status.REFUNDED
        refunded, ship_told = max(refunded, self.refunded), self._ship_told()
        return replace(self, status=status, step=Step.DONE, refunded=refunded, ship_told=ship_told)

    def _ship_told(self) -> bool | None:
        # If `ship_told` is False, an old replica has shipped it during an upgrade.
        shipped = self.status in (Status.SHIPPED, Status.DELIVERED)
        return None if shipped and not self.ship_told else self.ship_told

    def require_payment(self, payment_id: int) -> None:
        """Check that a payment is this order's.

        Raises:
            InvalidArgument: it is not.
        """
        # 0 if it was charged and refunded, but no answer with the payment's id arrived.
        if not self.total or self.payment_id not in (0, payment_id):
            raise InvalidArgument(
                [FieldViolation("payment_id", f"{payment_id} is not the payment of order {self.id}")]
            )

    def leased(self, now: float) -> "Order":
        """Return the order as leased by recovery; the lease grows with each attempt."""
        pause = min(2.0 ** min(self.attempts, 10) - 1, MAX_BACKOFF)
        return replace(self, lease_until=now + LEASE + pause, attempts=self.attempts + 1)

    def renewed(self, now: float) -> "Order":
        """Return the order as changed now, with a new lease."""
        return replace(self, updated_at=now, lease_until=now + LEASE)

    def require_same(self, asked: "Order") -> None:
        """Check that a repeated request asks for this order: an idempotency key stands for one order.

        Instruments cannot be compared, since none is stored: only whether there was one.

        Raises:
            FailedPrecondition: KEY_REUSED.
        """
        if self._asked() != asked._asked():
            raise FailedPrecondition("the idempotency key was used for another order", "KEY_REUSED")

    def _asked(self) -> tuple[Sequence[tuple[int, int]], Address, bool, int | None]:
        lines = [(line.product_id, line.quantity) for line in self.lines]
        return lines, self.address, self.on_file, self.expected

    def require_transition(self, status: Status) -> None:
        """Raise FailedPrecondition (ILLEGAL_STATUS_CHANGE) unless the order may change to this status."""
        undoing = self.step in (Step.CANCEL, Step.REFUND)
        if undoing or status not in TRANSITIONS[self.status]:
            state = f"being undone ({self.step.value})" if undoing else self.status.value
            raise FailedPrecondition(
                f"order {self.id} is {state} and cannot become {status.value}",
                "ILLEGAL_STATUS_CHANGE",
                current=self.status.value,
                wanted=status.value,
            )


@dataclass(frozen=True, slots=True)
class Event:
    """A change of an order.

    `cursor` is the version of the order that the change made. `refunded` is the amount in cents at that time.
    """

    order_id: int
    cursor: int
    status: Status
    message: str
    at: float
    refunded: int = 0


def merged(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return one line per product, in the order of first mention."""
    quantities: dict[int, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return tuple(Line(product_id, quantity) for product_id, quantity in quantities.items())
