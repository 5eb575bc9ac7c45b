"""The ledger of stock: the movements that a change consists of, and the effect of an edit on the stock. Pure.

`Product.stock` is what can be sold; orders hold what they have reserved in addition. A movement adds to one
or both of them. Stock is never overwritten: every change of it is accounted for by a movement.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from grpcmesh.errors import FailedPrecondition
from services.kit.validation import INT32_MAX


class Kind(Enum):
    """The reason for a change of the stock."""

    #: The stock with which the ledger, or the demo's catalogue, began.
    SEED = "seed"
    #: Goods were received.
    RECEIVE = "receive"
    #: An order reserved units.
    RESERVE = "reserve"
    #: Units that an order held can be sold again.
    RELEASE = "release"
    #: Units that an order held have left.
    SHIP = "ship"
    #: The count was corrected.
    CORRECT = "correct"


@dataclass(frozen=True, slots=True)
class Movement:
    """An entry of the ledger. `id` is 0 until it is recorded; `at` is in Unix microseconds.

    Args:
        stock_after: The product's stock after the movement; None if it was not known when it was entered.
        key: The reservation or adjustment that it belongs to.
        user_id: The admin who made it; 0 if there was none.
    """

    product_id: int
    kind: Kind
    stock_change: int
    held_change: int = 0
    stock_after: int | None = None
    key: str | None = None
    note: str = ""
    user_id: int = 0
    id: int = 0
    at: int = 0


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A change of the stock that an admin requests. `kind` is RECEIVE or CORRECT."""

    product_id: int
    change: int
    kind: Kind
    note: str
    key: str | None
    user_id: int

    def require_same(self, other: "Adjustment") -> None:
        """Check that `other` is this adjustment again: a key stands for one.

        Raises:
            FailedPrecondition: KEY_REUSED.
        """
        if self != other:
            raise FailedPrecondition("the idempotency key was used for another adjustment", "KEY_REUSED")

    def refusal(self, stock: int) -> FailedPrecondition:
        """Return the reason why the adjustment cannot be made while the product has this stock."""
        return FailedPrecondition(
            f"product {self.product_id}: {stock} in stock, so {self.change:+} would leave "
            f"{stock + self.change}, which is not from 0 to {INT32_MAX}",
            "STOCK_OUT_OF_RANGE",
            product_id=str(self.product_id),
            stock=str(stock),
        )


def reserved(product_id: int, quantity: int, stock_after: int, key: str) -> Movement:
    """Return the movement of units that a reservation took."""
    return Movement(product_id, Kind.RESERVE, -quantity, quantity, stock_after, key)


def released(product_id: int, quantity: int, stock_after: int | None, key: str) -> tuple[Movement, ...]:
    """Return the movements of units that a reservation gives back.

    Args:
        stock_after: None if the product was deleted. Then the units are entered as released, and
            corrected to none, because they do not exist any more.
    """
    if stock_after is not None:
        return (Movement(product_id, Kind.RELEASE, quantity, -quantity, stock_after, key),)
    return (
        Movement(product_id, Kind.RELEASE, quantity, -quantity, quantity, key),
        Movement(product_id, Kind.CORRECT, -quantity, 0, 0, key, DELETED),
    )


def shipped(product_id: int, quantity: int, key: str) -> Movement:
    """Return the movement of reserved units that leave."""
    return Movement(product_id, Kind.SHIP, 0, -quantity, None, key)


def corrected(product_id: int, before: int, after: int, note: str, user_id: int) -> tuple[Movement, ...]:
    """Return the movements, one or none, by which a stock of `before` becomes `after`."""
    if before == after:
        return ()
    return (Movement(product_id, Kind.CORRECT, after - before, 0, after, None, note, user_id),)


#: Notes of corrections that follow from an admin's edit or deletion.
EDITED, DELETED = "set by an edit", "the product was deleted"


def stock_of_edit(now: int, wanted: int | None, named: bool, lately: Collection[int]) -> int:
    """Return the stock of a product after an edit.

    A client that knows no field mask sends back every field that it has read. If its stock is one that the
    product had lately, before orders changed it, the client has not changed it: setting it would undo
    the reservations made since. Any other value is a correction of the stock that is there now.

    Args:
        now: The product's stock.
        wanted: The edit's stock; None if the edit leaves it alone.
        named: Whether the edit names the stock as a field to change.
        lately: The values that the stock has had since goods were last received or the count corrected.
    """
    if wanted is None or wanted == min(now, INT32_MAX):
        return now
    if not named and wanted in {min(stock, INT32_MAX) for stock in lately}:
        return now
    return wanted


def totals(items: Iterable[tuple[int, int]]) -> Mapping[int, int]:
    """Return the quantity of each product id, in the order of ids: that in which stock is always locked."""
    sums: dict[int, int] = {}
    for product_id, quantity in sorted(items):
        sums[product_id] = sums.get(product_id, 0) + quantity
    return sums
