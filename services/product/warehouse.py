"""Reserving and releasing stock."""

from collections.abc import Mapping, Sequence

from grpcmesh.errors import FailedPrecondition, NotFound
from services.kit.validation import checking
from services.product.domain import Reservation, ReservedItem, Stock, StockItem, StockUnit, Taken

MAX_KEY = 200
MAX_ITEMS = 100


class Warehouse:
    """Reserving and releasing stock, each once per key, whatever is sent how often in what order."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    async def reserve(self, key: str, items: Sequence[StockItem]) -> tuple[ReservedItem, ...]:
        """Takes all the items or none. The same key again answers what it answered the first time.

        Raises:
            InvalidArgument: the key or an item is malformed.
            NotFound: there is no such product.
            FailedPrecondition: OUT_OF_STOCK; KEY_REUSED with other items; KEY_RELEASED.
        """
        key = _check_reservation(key, items)
        return await self._stock.at_once(lambda unit: _reserve(unit, key, items))

    async def release(self, key: str) -> bool:
        """Gives back what the key holds; whether it held anything. From then on the key is spent.

        Raises:
            InvalidArgument: the key is malformed.
        """
        with checking() as check:
            key = check.text("key", key, least=1, most=MAX_KEY)
        return await self._stock.at_once(lambda unit: _release(unit, key))


def _reserve(unit: StockUnit, key: str, items: Sequence[StockItem]) -> tuple[ReservedItem, ...]:
    while not unit.claim(key, released=False):
        # None: it had been released long ago, and retention dropped it after the claim.
        if (found := unit.find(key)) is not None:
            return _repeated(found, items)
    # In the order of ids, so that two reservations cannot wait for each other.
    taken = {pid: _take(unit, pid, quantity) for pid, quantity in sorted(_totals(items).items())}
    reserved = tuple(_reserved(item, taken[item.product_id]) for item in items)
    unit.record(key, reserved)
    return reserved


def _release(unit: StockUnit, key: str) -> bool:
    # Claiming first, because it waits for a reservation that is being made right now.
    if unit.claim(key, released=True) or not unit.close(key):
        return False
    held = unit.find(key)
    for product_id, quantity in sorted(_totals(held.items if held else ()).items()):
        unit.give_back(product_id, quantity)
    return True


def _check_reservation(key: str, items: Sequence[StockItem]) -> str:
    with checking() as check:
        key = check.text("key", key, least=1, most=MAX_KEY)
        check.that(bool(items), "items", "must not be empty")
        check.that(len(items) <= MAX_ITEMS, "items", f"must be at most {MAX_ITEMS}")
        for i, item in enumerate(items[:MAX_ITEMS]):
            check.id(f"items[{i}].product_id", item.product_id)
            check.integer(f"items[{i}].quantity", item.quantity, least=1)
    return key


def _totals(items: Sequence[StockItem] | Sequence[ReservedItem]) -> Mapping[int, int]:
    totals: dict[int, int] = {}
    for item in items:
        totals[item.product_id] = totals.get(item.product_id, 0) + item.quantity
    return totals


def _take(unit: StockUnit, product_id: int, quantity: int) -> Taken:
    if taken := unit.take(product_id, quantity):
        return taken
    available = unit.in_stock(product_id)
    if available is None:
        raise NotFound("product", str(product_id))
    raise FailedPrecondition(
        f"product {product_id}: {quantity} requested, {available} available",
        "OUT_OF_STOCK",
        product_id=str(product_id),
        requested=str(quantity),
        available=str(available),
    )


def _repeated(found: Reservation, items: Sequence[StockItem]) -> tuple[ReservedItem, ...]:
    if found.released:
        raise FailedPrecondition("the reservation has been released", "KEY_RELEASED", key=found.key)
    if [(i.product_id, i.quantity) for i in found.items] != [(i.product_id, i.quantity) for i in items]:
        raise FailedPrecondition("the key belongs to other items", "KEY_REUSED", key=found.key)
    return found.items


def _reserved(item: StockItem, taken: Taken) -> ReservedItem:
    return ReservedItem(item.product_id, item.quantity, taken.name, taken.price, taken.category)
