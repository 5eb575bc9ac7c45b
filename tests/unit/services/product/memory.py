"""Products and stock in memory: what the ports promise, in its simplest form."""

import copy
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from services.kit.paging import Page, Slice
from services.product.domain import (
    Category,
    Criteria,
    Draft,
    Edit,
    Product,
    Reservation,
    ReservedItem,
    StockUnit,
    Taken,
    Wish,
)
from services.product.ledger import Adjustment, Kind, Movement, stock_of_edit

T = TypeVar("T")


@dataclass
class Shelf:
    """A `ProductStore` and a `Stock`."""

    products: dict[int, Product] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)
    ledger: list[Movement] = field(default_factory=list)

    async def get(self, product_id: int) -> Product | None:
        return self.products.get(product_id)

    async def get_all(self, product_ids: Sequence[int]) -> Sequence[Product]:
        return [self.products[each] for each in set(product_ids) & self.products.keys()]

    async def page(self, category: Category, page: Page) -> Slice[Product]:
        matching = [p for p in self.products.values() if not category or p.category == category]
        return Slice.of(matching[page.skip : page.skip + page.limit + 1], page.limit, lambda p: p.id)

    async def search(self, criteria: Criteria) -> AsyncIterator[Product]:
        for each in self.products.values():
            if criteria.query in each.name:
                yield each

    async def candidates(self, wish: Wish, limit: int) -> Sequence[Product]:
        return [p for p in self.products.values() if wish.category in (0, p.category)][:limit]

    async def add(self, drafts: Sequence[Draft]) -> Sequence[Product]:
        return [self._put(len(self.products) + 1, draft) for draft in drafts]

    async def edit(self, edit: Edit) -> Product | None:
        if (found := self.products.get(edit.product_id)) is None:
            return None
        stock = stock_of_edit(found.stock, edit.stock, edit.stock_named, ())
        self.products[found.id] = replace(edit.applied(found), stock=stock, version=found.version + 1)
        return self.products[found.id]

    async def remove(self, product_id: int, user_id: int) -> bool:
        return self.products.pop(product_id, None) is not None

    def _put(self, product_id: int, draft: Draft) -> Product:
        self.products[product_id] = Product(
            product_id,
            draft.name,
            draft.description,
            draft.price,
            draft.stock,
            draft.category,
            draft.tags,
            0,
            0,
        )
        return self.products[product_id]

    async def at_once(self, work: Callable[[StockUnit], T]) -> T:
        before = copy.copy(self.products), copy.copy(self.reservations), copy.copy(self.ledger)
        try:
            return work(self)
        except BaseException:
            self.products, self.reservations, self.ledger = before
            raise

    def claim(self, key: str, *, released: bool) -> bool:
        if key in self.reservations:
            return False
        self.reservations[key] = Reservation(key, released, ())
        return True

    def find(self, key: str) -> Reservation | None:
        return self.reservations.get(key)

    def take(self, product_id: int, quantity: int) -> Taken | None:
        found = self.products.get(product_id)
        if found is None or found.stock < quantity:
            return None
        self.products[product_id] = replace(found, stock=found.stock - quantity)
        return Taken(found.name, found.price, found.category, found.stock - quantity)

    def in_stock(self, product_id: int) -> int | None:
        found = self.products.get(product_id)
        return found.stock if found else None

    def record(self, key: str, items: Sequence[ReservedItem]) -> None:
        self.reservations[key] = replace(self.reservations[key], items=tuple(items))

    def close(self, key: str, kind: Kind) -> bool:
        found = self.reservations.get(key)
        if found is None or found.released or found.shipped:
            return False
        done = {"released": kind is Kind.RELEASE, "shipped": kind is Kind.SHIP}
        self.reservations[key] = replace(found, **done)
        return True

    def give_back(self, product_id: int, quantity: int) -> int | None:
        if (found := self.products.get(product_id)) is None:
            return None
        self.products[product_id] = replace(found, stock=found.stock + quantity)
        return found.stock + quantity

    def enter(self, movements: Sequence[Movement]) -> None:
        self.ledger.extend(movements)

    async def adjust(self, wanted: Adjustment) -> Adjustment:
        raise NotImplementedError

    async def movements(self, product_id: int, page: Page) -> Slice[Movement]:
        return Slice([entry for entry in self.ledger if entry.product_id == product_id])


def product(product_id: int, stock: int = 10, price: int = 100) -> Product:
    return Product(product_id, f"thing {product_id}", "", price, stock, Category.HOME, (), 0, 0)
