"""Products and stock in memory: what the ports promise, in its simplest form."""

import copy
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from services.kit.paging import Page
from services.kit.validation import INT32_MAX
from services.product.domain import (
    Category,
    Criteria,
    Draft,
    Product,
    Reservation,
    ReservedItem,
    StockUnit,
    Taken,
    Wish,
)

T = TypeVar("T")


@dataclass
class Shelf:
    """A `ProductStore` and a `Stock`."""

    products: dict[int, Product] = field(default_factory=dict)
    reservations: dict[str, Reservation] = field(default_factory=dict)

    async def get(self, product_id: int) -> Product | None:
        return self.products.get(product_id)

    async def page(self, category: Category, page: Page) -> Sequence[Product]:
        matching = [p for p in self.products.values() if not category or p.category == category]
        return matching[page.offset : page.offset + page.limit]

    async def search(self, criteria: Criteria) -> AsyncIterator[Product]:
        for each in self.products.values():
            if criteria.query in each.name:
                yield each

    async def candidates(self, wish: Wish, limit: int) -> Sequence[Product]:
        return [p for p in self.products.values() if wish.category in (0, p.category)][:limit]

    async def add(self, drafts: Sequence[Draft]) -> Sequence[Product]:
        return [self._put(len(self.products) + 1, draft) for draft in drafts]

    async def replace(self, product_id: int, draft: Draft) -> Product | None:
        return self._put(product_id, draft) if product_id in self.products else None

    async def remove(self, product_id: int) -> bool:
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
        before = copy.copy(self.products), copy.copy(self.reservations)
        try:
            return work(self)
        except BaseException:
            self.products, self.reservations = before
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
        return Taken(found.name, found.price, found.category)

    def in_stock(self, product_id: int) -> int | None:
        found = self.products.get(product_id)
        return found.stock if found else None

    def record(self, key: str, items: Sequence[ReservedItem]) -> None:
        self.reservations[key] = replace(self.reservations[key], items=tuple(items))

    def close(self, key: str) -> bool:
        held = not self.reservations[key].released
        self.reservations[key] = replace(self.reservations[key], released=True)
        return held

    def give_back(self, product_id: int, quantity: int) -> None:
        if found := self.products.get(product_id):
            self.products[product_id] = replace(found, stock=min(found.stock + quantity, INT32_MAX))


def product(product_id: int, stock: int = 10, price: int = 100) -> Product:
    return Product(product_id, f"thing {product_id}", "", price, stock, Category.HOME, (), 0, 0)
