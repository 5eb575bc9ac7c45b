"""The catalogue and its stock: entities, rules and ports."""

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol, TypeVar

from services.kit.paging import Page

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


@dataclass(frozen=True, slots=True)
class Taken:
    """What the catalogue says of a product whose stock was just taken. `price` in cents."""

    name: str
    price: int
    category: int


class ProductStore(Protocol):
    """Port: where products are kept."""

    async def get(self, product_id: int) -> Product | None: ...

    async def page(self, category: Category, page: Page) -> Sequence[Product]:
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

    async def replace(self, product_id: int, draft: Draft) -> Product | None: ...

    async def remove(self, product_id: int) -> bool: ...


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

    def close(self, key: str) -> bool:
        """Marks a held reservation released; whether it was held."""
        ...

    def give_back(self, product_id: int, quantity: int) -> None:
        """Adds stock, up to what an int32 holds. A product that was deleted is passed over."""
        ...


class Stock(Protocol):
    """Port: how many of each product can be sold."""

    async def at_once(self, work: Callable[[StockUnit], T]) -> T:
        """What `work` returns, its changes committed; none of them if it raises."""
        ...
