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
    """What is said of a product, checked. `price` in cents."""

    name: str
    description: str
    price: int
    stock: int
    category: Category
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Product:
    """A product of the catalogue. `price` in cents, times in Unix microseconds."""

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
        stock_named: Whether the client named the stock as a field to change, rather than sent all that it
            had read.
        version: The product's version that the client has read; 0 if it did not say.
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
        """Whether the product is as this edit would leave it, and was last edited from the same version.

        Then it is this edit, repeated because its answer was lost.
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
    """What a search looks for. Prices in cents; 0: no bound."""

    query: str = ""
    category: Category = Category.UNSPECIFIED
    min_price: int = 0
    max_price: int = 0


class Ranking(IntEnum):
    """Which of several products that fit comes first."""

    BEST = 0
    CHEAPEST = 1
    DEAREST = 2


@dataclass(frozen=True, slots=True)
class Wish:
    """What a question to the shop assistant asks for. Prices in cents; 0: no bound.

    `stems` are the beginnings of the words that it is about, as `services.product.question` cuts them.
    """

    stems: tuple[str, ...] = ()
    category: Category = Category.UNSPECIFIED
    min_price: int = 0
    max_price: int = 0
    ranking: Ranking = Ranking.BEST

    @property
    def empty(self) -> bool:
        """Whether it asks for nothing in particular."""
        return self == Wish()


@dataclass(frozen=True, slots=True)
class StockItem:
    """A quantity of one product."""

    product_id: int
    quantity: int


@dataclass(frozen=True, slots=True)
class ReservedItem:
    """One item of a reservation, and what the catalogue said when it was made. `price` in cents."""

    product_id: int
    quantity: int
    name: str
    price: int
    category: int


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was taken from the stock under a key."""

    key: str
    released: bool
    items: tuple[ReservedItem, ...]
    shipped: bool = False


@dataclass(frozen=True, slots=True)
class Taken:
    """What the catalogue says of a product whose stock was just taken, and what is left. `price` in cents."""

    name: str
    price: int
    category: int
    stock_after: int


class ProductStore(Protocol):
    """Port: where products are kept."""

    async def get(self, product_id: int) -> Product | None: ...

    async def get_all(self, product_ids: Sequence[int]) -> Sequence[Product]:
        """Those that there are, each once, in any order."""
        ...

    async def page(self, category: Category, page: Page) -> Slice[Product]:
        """By id; UNSPECIFIED: of every category."""
        ...

    def search(self, criteria: Criteria) -> AsyncIterator[Product]:
        """All matches by id, read bit by bit, so that a slow caller holds nothing up."""
        ...

    async def candidates(self, wish: Wish, limit: int) -> Sequence[Product]:
        """Products within the wish's bounds that mention any of its stems, those that mention most first."""
        ...

    async def add(self, drafts: Sequence[Draft]) -> Sequence[Product]:
        """All of them or none; in the order given."""
        ...

    async def edit(self, edit: Edit) -> Product | None:
        """Makes an edit: `services.product.ledger.stock_of_edit` says what becomes of the stock.

        Returns:
            The product after it; None if there is none.

        Raises:
            Aborted: VERSION_CONFLICT.
        """
        ...

    async def remove(self, product_id: int, user_id: int) -> bool:
        """Deletes it, its stock corrected to none; whether there was one."""
        ...


class StockUnit(Protocol):
    """Port: one transaction on the stock."""

    def claim(self, key: str, *, released: bool) -> bool:
        """Makes the reservation if there is none under the key; whether it did. Waits for one being made."""
        ...

    def find(self, key: str) -> Reservation | None:
        """The reservation under a key; None where there is none, or none any more."""
        ...

    def take(self, product_id: int, quantity: int) -> Taken | None:
        """Takes stock, never below zero; None if there is no such product or not enough of it."""
        ...

    def in_stock(self, product_id: int) -> int | None:
        """None if there is no such product."""
        ...

    def record(self, key: str, items: Sequence[ReservedItem]) -> None: ...

    def close(self, key: str, kind: Kind) -> bool:
        """Marks a held reservation released or shipped; whether it was held."""
        ...

    def give_back(self, product_id: int, quantity: int) -> int | None:
        """Adds stock; returns what there is then, or None if the product was deleted."""
        ...

    def enter(self, movements: Sequence[Movement]) -> None:
        """Adds to the ledger."""
        ...


class Stock(Protocol):
    """Port: how many of each product can be sold."""

    async def at_once(self, work: Callable[[StockUnit], T]) -> T:
        """What `work` returns, its changes committed; none of them if it raises."""
        ...

    async def adjust(self, wanted: Adjustment) -> Adjustment:
        """Makes an adjustment once per key; returns what is recorded under the key.

        Raises:
            NotFound: there is no such product.
            FailedPrecondition: STOCK_OUT_OF_RANGE.
        """
        ...

    async def movements(self, product_id: int, page: Page) -> Slice[Movement]:
        """A page of a product's ledger, newest first."""
        ...
