"""Orders: what they are, and the steps of placing and undoing one.

Amounts are integer cents, times are Unix seconds. An order's `step` says what is to be done next, and is
recorded before it is done; `version` grows with every change, and every change names the version that it
changes, so that of two replicas that work at an order only one gets its way.
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

#: The largest total of an order, in cents: ten million, as much as can be charged at once.
MAX_TOTAL = 1_000_000_000
MAX_ITEMS = 100
MAX_QUANTITY = 1000
#: The longest idempotency key.
MAX_KEY = 100
#: Seconds that a replica may work at an order before another may take it over; each step renews it.
LEASE = 6.0
#: Longest wait of recovery between two attempts at an order, in seconds.
MAX_BACKOFF = 60.0


class Status(enum.Enum):
    """Where an order is in its life."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    SHIPPED = "SHIPPED"
    DELIVERED = "DELIVERED"
    CANCELLED = "CANCELLED"
    REFUNDED = "REFUNDED"


class Step(enum.Enum):
    """What is to be done next."""

    RESERVE = "RESERVE"
    CHARGE = "CHARGE"
    #: Release the stock, void the payment; then the order is CANCELLED.
    CANCEL = "CANCEL"
    #: Release the stock unless it has shipped, void the payment; then the order is REFUNDED.
    REFUND = "REFUND"
    DONE = "DONE"


#: What may be asked for. A refund of the whole payment makes any order that stands REFUNDED: `Order.repaid`.
TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.CONFIRMED, Status.CANCELLED}),
    Status.CONFIRMED: frozenset({Status.SHIPPED, Status.CANCELLED}),
    Status.SHIPPED: frozenset({Status.DELIVERED}),
    Status.DELIVERED: frozenset({Status.REFUNDED}),
    Status.CANCELLED: frozenset(),
    Status.REFUNDED: frozenset(),
}
#: Nothing follows these.
FINAL = frozenset(status for status, following in TRANSITIONS.items() if not following)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to ship. All empty: not given."""

    street: str = ""
    city: str = ""
    state: str = ""
    zip_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """A quantity of one product; name and price are the catalogue's, once it has answered."""

    product_id: int
    quantity: int
    name: str = ""
    unit_price: int = 0

    @property
    def total(self) -> int:
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class Instrument:
    """How the buyer wants to pay: sealed, because orders carry it to the payment service and never look
    into it, store it or print it."""

    sealed: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Buyer:
    """Somebody who waits for an order to be placed, with a way to pay at hand; None: the wallet on file."""

    instrument: Instrument | None = None


@dataclass(frozen=True, slots=True)
class Order:
    """An order, as recorded. `id` is 0 until it is."""

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
    #: Cents of the total that have been given back.
    refunded: int = 0
    #: The total that the buyer was shown; None if it did not say.
    expected: int | None = None
    #: Whether the catalogue is told that the goods have left. None: it is still to be seen, because a version
    #: that tells nobody may have shipped it.
    ship_told: bool | None = False

    @property
    def saga_key(self) -> str:
        """The idempotency key of each step at the other services."""
        return f"order-{self.id}"

    @property
    def final(self) -> bool:
        return self.status in FINAL

    @property
    def was_confirmed(self) -> bool:
        """Whether it ever was. (A free order that its buyer cancels within its checkout counts, too.)"""
        return bool(self.payment_id) or (not self.total and self.failure is None)

    def priced(self, lines: tuple[Line, ...]) -> "Order":
        """The stock is reserved: the catalogue's names and prices count. A free order needs no charge."""
        total = sum(line.total for line in lines)
        order = replace(self, lines=lines, total=total, step=Step.CHARGE)
        if total > MAX_TOTAL:
            return order.cancelling(FailedPrecondition("the order's total is too large", "ORDER_TOO_LARGE"))
        if self.expected not in (None, total):
            return order.cancelling(price_changed(self.expected or 0, total))
        return order if total else order.confirmed(0)

    def confirmed(self, payment_id: int) -> "Order":
        """Paid."""
        return replace(self, payment_id=payment_id, status=Status.CONFIRMED, step=Step.DONE)

    def cancelling(self, error: MeshError | None = None) -> "Order":
        """To be undone, because of an error or because somebody wishes it.

        After a transient error the key is set free, so that a retry under it places a new order.
        """
        failure = Failure.of(error) if error else None
        key = None if failure and failure.transient else self.key
        return replace(self, step=Step.CANCEL, failure=failure, key=key)

    def refunding(self) -> "Order":
        """To be given back the money for."""
        return replace(self, step=Step.REFUND)

    def repaid(self, refunded: int) -> "Order | None":
        """Learns that `refunded` cents of its payment have been given back in all; None if it knew.

        Only for an order with nothing left to do. What it is told late, twice or out of order changes
        nothing, because the amount of a payment that is given back only grows.
        """
        if refunded <= self.refunded:
            return None
        if refunded >= self.total and not self.final:
            return self.refunding()  # the amount is recorded when that is done
        return replace(self, refunded=refunded)

    def moved(self, status: Status) -> "Order":
        """In the next status, with nothing else to do."""
        return replace(self, status=status, ship_told=status is Status.SHIPPED or self._ship_told())

    def undone(self, refunded: int) -> "Order":
        """The present step, CANCEL or REFUND, is done, and so many cents have been given back in all."""
        status = Status.CANCELLED if self.step is Step.CANCEL else Status.REFUNDED
        refunded, ship_told = max(refunded, self.refunded), self._ship_told()
        return replace(self, status=status, step=Step.DONE, refunded=refunded, ship_told=ship_told)

    def _ship_told(self) -> bool | None:
        # False: an old replica has shipped it, during an upgrade.
        shipped = self.status in (Status.SHIPPED, Status.DELIVERED)
        return None if shipped and not self.ship_told else self.ship_told

    def require_payment(self, payment_id: int) -> None:
        """Check that a payment is this order's.

        Raises:
            InvalidArgument: it is not.
        """
        # 0: charged, and given back, without an answer that told the payment's id.
        if not self.total or self.payment_id not in (0, payment_id):
            raise InvalidArgument(
                [FieldViolation("payment_id", f"{payment_id} is not the payment of order {self.id}")]
            )

    def leased(self, now: float) -> "Order":
        """Taken up by recovery; each attempt gives the one after it more time."""
        pause = min(2.0 ** min(self.attempts, 10) - 1, MAX_BACKOFF)
        return replace(self, lease_until=now + LEASE + pause, attempts=self.attempts + 1)

    def renewed(self, now: float) -> "Order":
        """Changed now, and worked at for another lease."""
        return replace(self, updated_at=now, lease_until=now + LEASE)

    def require_same(self, asked: "Order") -> None:
        """A key stands for one order: what was asked for must be what is asked for.

        An instrument cannot be compared, as none is kept; only whether there was one.

        Raises:
            FailedPrecondition: KEY_REUSED.
        """
        if self._asked() != asked._asked():
            raise FailedPrecondition("the idempotency key was used for another order", "KEY_REUSED")

    def _asked(self) -> tuple[Sequence[tuple[int, int]], Address, bool, int | None]:
        lines = [(line.product_id, line.quantity) for line in self.lines]
        return lines, self.address, self.on_file, self.expected

    def require_transition(self, status: Status) -> None:
        """Raises FailedPrecondition, ILLEGAL_STATUS_CHANGE."""
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
    """A change of an order; `cursor` is the order's version that it made, `refunded` as of then."""

    order_id: int
    cursor: int
    status: Status
    message: str
    at: float
    refunded: int = 0


def merged(lines: Sequence[Line]) -> tuple[Line, ...]:
    """One line a product, in the order of first mention."""
    quantities: dict[int, int] = {}
    for line in lines:
        quantities[line.product_id] = quantities.get(line.product_id, 0) + line.quantity
    return tuple(Line(product_id, quantity) for product_id, quantity in quantities.items())
