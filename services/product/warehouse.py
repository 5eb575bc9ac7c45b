"""The use cases of stock: orders reserve, release and ship it; admins receive and correct it."""

from collections.abc import Mapping, Sequence

from grpcmesh.errors import FailedPrecondition, NotFound
from services.kit.actor import Actor
from services.kit.paging import Listing, Paged, Slice
from services.kit.validation import INT32_MAX, checking
from services.product import ledger
from services.product.domain import Reservation, ReservedItem, Stock, StockItem, StockUnit, Taken
from services.product.ledger import Adjustment, Kind, Movement

MAX_KEY = 200
MAX_ITEMS = 100
MAX_NOTE = 500


class Warehouse:
    """Moves stock, each time once per key, however often and in whatever order requests arrive."""

    def __init__(self, stock: Stock) -> None:
        self._stock = stock

    async def reserve(self, key: str, items: Sequence[StockItem]) -> tuple[ReservedItem, ...]:
        """Reserve all the items or none. A repeated call returns the same result.

        Raises:
            InvalidArgument: the key or an item is malformed.
            NotFound: there is no such product.
            FailedPrecondition: OUT_OF_STOCK; KEY_REUSED with other items; KEY_RELEASED.
        """
        key = _check_reservation(key, items)
        return await self._stock.at_once(lambda unit: _reserve(unit, key, items))

    async def release(self, key: str) -> bool:
        """Give back what the key holds. Return whether it held anything. The key cannot be used any more.

        Raises:
            InvalidArgument: the key is malformed.
        """
        with checking() as check:
            key = check.text("key", key, least=1, most=MAX_KEY)
        return await self._stock.at_once(lambda unit: _release(unit, key))

    async def ship(self, key: str) -> bool:
        """Record that what the key holds has left. Return whether that was not recorded before.

        Raises:
            InvalidArgument: the key is malformed.
            NotFound: nothing was ever reserved under it.
            FailedPrecondition: KEY_RELEASED.
        """
        with checking() as check:
            key = check.text("key", key, least=1, most=MAX_KEY)
        return await self._stock.at_once(lambda unit: _ship(unit, key))

    async def adjust(
        self, actor: Actor, product_id: int, change: int, kind: Kind, note: str, key: str
    ) -> None:
        """Add received goods (RECEIVE) or correct the count (CORRECT), once per key.

        Raises:
            Unauthenticated, PermissionDenied: the actor is not an admin.
            InvalidArgument: an argument is malformed.
            NotFound: there is no such product.
            FailedPrecondition: STOCK_OUT_OF_RANGE; KEY_REUSED.
        """
        actor.require_admin()
        with checking() as check:
            check.id("product_id", product_id)
            check.that(change != 0, "change", "must not be 0")
            check.integer("change", change, 1 if kind is Kind.RECEIVE else -INT32_MAX)
            note = check.text("note", note, most=MAX_NOTE)
            key = check.text("idempotency_key", key, most=MAX_KEY)
        scoped = f"user-{actor.user_id}/{key}" if key else None
        wanted = Adjustment(product_id, change, kind, note, scoped, actor.user_id)
        (await self._stock.adjust(wanted)).require_same(wanted)

    async def movements(
        self, actor: Actor, product_id: int, listing: Listing, wanted: Paged
    ) -> Slice[Movement]:
        """Return a page of a product's ledger, the newest first.

        Raises Unauthenticated or PermissionDenied.
        """
        actor.require_admin()
        with checking() as check:
            check.id("product_id", product_id)
            page = listing.page(check, wanted)
        return await self._stock.movements(product_id, page)


def _reserve(unit: StockUnit, key: str, items: Sequence[StockItem]) -> tuple[ReservedItem, ...]:
    while not unit.claim(key, released=False):
        # If None, it had been released long ago, and retention deleted it after the claim: try again.
        if (found := unit.find(key)) is not None:
            return _repeated(found, items)
    wanted = ledger.totals((item.product_id, item.quantity) for item in items)
    taken = {product_id: _take(unit, product_id, quantity) for product_id, quantity in wanted.items()}
    reserved = tuple(_reserved(item, taken[item.product_id]) for item in items)
    unit.record(key, reserved)
    unit.enter([ledger.reserved(p, quantity, taken[p].stock_after, key) for p, quantity in wanted.items()])
    return reserved


def _release(unit: StockUnit, key: str) -> bool:
    # Claim first, because that waits for a transaction that is creating the reservation.
    if unit.claim(key, released=True) or not unit.close(key, Kind.RELEASE):
        return False
    for product_id, quantity in _held(unit, key).items():
        unit.enter(ledger.released(product_id, quantity, unit.give_back(product_id, quantity), key))
    return True


def _ship(unit: StockUnit, key: str) -> bool:
    if unit.close(key, Kind.SHIP):
        unit.enter([ledger.shipped(product_id, q, key) for product_id, q in _held(unit, key).items()])
        return True
    found = unit.find(key)
    if found is None:
        raise NotFound("reservation", key)
    if found.released:
        raise FailedPrecondition("the reservation has been released", "KEY_RELEASED", key=key)
    return False


def _held(unit: StockUnit, key: str) -> Mapping[int, int]:
    found = unit.find(key)
    return ledger.totals((item.product_id, item.quantity) for item in (found.items if found else ()))


def _check_reservation(key: str, items: Sequence[StockItem]) -> str:
    with checking() as check:
        key = check.text("key", key, least=1, most=MAX_KEY)
        check.that(bool(items), "items", "must not be empty")
        check.that(len(items) <= MAX_ITEMS, "items", f"must be at most {MAX_ITEMS}")
        for i, item in enumerate(items[:MAX_ITEMS]):
            check.id(f"items[{i}].product_id", item.product_id)
            check.integer(f"items[{i}].quantity", item.quantity, least=1)
    return key


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
