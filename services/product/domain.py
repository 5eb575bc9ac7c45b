"""The catalogue and its stock: entities, rules and ports."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import Any, Protocol, TypeVar

from grpcmesh.errors import Aborted
from services.kit.paging import Page, Slice
from services.product.ledger import Adjustment, Kind, Movement

T = TypeVar("T")


class Category(IntEnum):
    """Groups products for browsing. The numbers are those of the contract."""

    UNSPECIFIED = 0
    ELECTRONICS = 1
    CLOTHING = 2
    BOOKS = 3
    HOME = 4
    SPORTS = 5


@dataclass(frozen=True, slots=True)
class Draft:
    """The checked values of a product. `price` is in cents."""

    name: str
    description: str
    price: int
    stock: int
    category: Category
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the catalogue. `price` is in cents, times are in Unix microseconds."""

    id: int
    name: str
    description: str
    price: int
    stock: int
    category: int
    tags: Sequence[str]
    created_at: int
    updated_at: int
    #: Counts the edits.
    version: int = 1


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of a product by an admin. None leaves a field as it is.

    Args:
        stock_named: Whether the client named the stock as a field to change, instead of sending back every
            field that it had read.
        version: The version of the product that the client has read; 0 if it did not say.
        user_id: The admin.
    """

    product_id: int
    name: str | None = None
    description: str | None = None
    price: int | None = None
    category: Category | None = None
    tags: tuple[str, ...] | None = None
    stock: int | None = None
    stock_named: bool = False
    version: int = 0
    user_id: int = 0

    def applied(self, product: Product) -> Product:
        """Return the product with every field of the edit but the stock."""
        fields = ("name", "description", "price", "category", "tags")
        changes: dict[str, Any] = {f: value for f in fields if (value := getattr(self, f)) is not None}
        return replace(product, **changes)

    def is_made(self, product: Product) -> bool:
        """Return whether the product already is as this edit would leave it, and one version later.

        Then it is a repetition of this edit, whose answer was lost.
        """
        return product.version == self.version + 1 and _same(self.applied(product), product)

    def conflict(self, product: Product) -> Aborted:
        """Return the error for a product that was edited since the client read it."""
        return Aborted(
            f"product {product.id} was edited since: it is at version {product.version}, not {self.version}",
            "VERSION_CONFLICT",
            version=str(product.version),
        )


def _same(one: Product, other: Product) -> bool:
    return replace(one, tags=tuple(one.tags)) == replace(other, tags=tuple(other.tags))


@dataclass(frozen=True, slots=True)
class Criteria:
    """The criteria of a search. Prices are in cents; 0 means no bound."""

    query: str = ""
    category: Category = Category.UNSPECIFIED
    min_price: int = 0
    max_price: int = 0


class Ranking(IntEnum):
    """The order of several products that fit."""

    BEST = 0
    CHEAPEST = 1
    DEAREST = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """The request in a question to the shop assistant. Prices are in cents; 0 means no bound.

    `stems` are the beginnings of the words in the question, as `services.product.question` cuts them.
    """

    stems: tuple[str, ...] = ()
    category: Category = Category.UNSPECIFIED
    min_price: int = 0
    max_price: int = 0
    ranking: Ranking = Ranking.BEST

    @property
    def empty(self) -> bool:
        """Return whether the question asks for nothing in particular."""
        return self == Wish()


@dataclass(frozen=True, slots=True)
class StockItem:
    """A quantity of one product."""

    product_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class ReservedItem:
    """One item of a reservation, with the catalogue's values at that time. `price` is in cents."""

    product_id: int
    quantity: int
    name: str
    price: int
    category: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """The stock that was reserved under a key."""

    key: str
    released: bool
    items: tuple[ReservedItem, ...]
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """A product whose stock was just taken, with the stock that is left. `price` is in cents."""

    name: str
    price: int
    category: int
    stock_after: int


class ProductStore(Protocol):
    """Port: stores products."""

    async def get(self, product_id: int) -> Product | None: ...

    async def get_all(self, product_ids: Sequence[int]) -> Sequence[Product]:
        """Return those products that exist, each once, in any order."""
        ...

    async def page(self, category: Category, page: Page) -> Slice[Product]:
        """Return a page of a category's products, ordered by id. UNSPECIFIED means all categories."""
        ...

    def search(self, criteria: Criteria) -> AsyncIterator[Product]:
        """Yield all matches, ordered by id. They are read in batches, so that a slow caller blocks nobody."""
        ...

    async def candidates(self, wish: Wish, limit: int) -> Sequence[Product]:
        """Return products within the wish's bounds that mention any of its stems, those with the most
        first.
        """
        ...

    async def add(self, drafts: Sequence[Draft]) -> Sequence[Product]:
        """Add all products or none, and return them in order."""
        ...

    async def edit(self, edit: Edit) -> Product | None:
        """Apply an edit; `services.product.ledger.stock_of_edit` decides about the stock.

        Returns:
            The product after the edit; None if there is no such product.

        Raises:
            Aborted: VERSION_CONFLICT.
        """
        ...

    async def remove(self, product_id: int, user_id: int) -> bool:
        """Delete a product, and correct its stock to none. Return whether it existed."""
        ...


class StockUnit(Protocol):
    """Port: one transaction on the stock."""

    def claim(self, key: str, *, released: bool) -> bool:
        """Create a reservation if there is none under the key. Return whether it did.

        It waits for a transaction that is creating one.
        """
        ...

    def find(self, key: str) -> Reservation | None:
        """Return the reservation under a key, or None if there is none (any more)."""
        ...

    def take(self, product_id: int, quantity: int) -> Taken | None:
        """Take stock, never below zero. Return None if there is no such product or not enough of it."""
        ...

    def in_stock(self, product_id: int) -> int | None:
        """Return the stock of a product, or None if there is no such product."""
        ...

    def record(self, key: str, items: Sequence[ReservedItem]) -> None: ...

    def close(self, key: str, kind: Kind) -> bool:
        """Mark a held reservation as released or shipped. Return whether it was held."""
        ...

    def give_back(self, product_id: int, quantity: int) -> int | None:
        """Add stock. Return the new stock, or None if the product was deleted."""
        ...

    def enter(self, movements: Sequence[Movement]) -> None:
        """Add movements to the ledger."""
        ...


class Stock(Protocol):
    """Port: the stock of each product that can be sold."""

    async def at_once(self, work: Callable[[StockUnit], T]) -> T:
        """Run `work` in a transaction and return its result.

        If it raises, none of its changes are committed.
        """
        ...

    async def adjust(self, wanted: Adjustment) -> Adjustment:
        """Make an adjustment, once per key. Return the adjustment that is recorded with the key.

        Raises:
            NotFound: there is no such product.
            FailedPrecondition: STOCK_OUT_OF_RANGE.
        """
        ...

    async def movements(self, product_id: int, page: Page) -> Slice[Movement]:
        """Return a page of a product's ledger, the newest first."""
        ...
