"""What the shop's page knows: things to show, ways to fail, and ports that the services fill.

No grpc and no protobuf here; `clients.py` adapts the services to the ports. Money is integer cents.
"""

import enum
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Category(enum.Enum):
    """A shelf of the shop. The value is its place in URLs."""

    ELECTRONICS = "electronics"
    CLOTHING = "clothing"
    BOOKS = "books"
    HOME = "home"
    SPORTS = "sports"

    @property
    def label(self) -> str:
        return self.value.capitalize()

    @classmethod
    def parse(cls, slug: str) -> "Category | None":
        """The category of a URL's slug; None for anything else."""
        return next((c for c in cls if c.value == slug), None)


class Status(enum.Enum):
    """Where an order is in its life."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"

    @property
    def label(self) -> str:
        return self.value.capitalize()


#: The ordinary life of an order, as the order page draws it.
STEPS = (Status.PENDING, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
#: What an admin may make of an order, by where it is. The order service has the last word.
ADMIN_ACTIONS: Mapping[Status, tuple[Status, ...]] = {
    Status.CONFIRMED: (Status.SHIPPED, Status.CANCELLED),
    Status.SHIPPED: (Status.DELIVERED,),
    Status.DELIVERED: (Status.REFUNDED,),
}
#: The same for the buyer.
BUYER_ACTIONS: Mapping[Status, tuple[Status, ...]] = {Status.CONFIRMED: (Status.CANCELLED,)}


@dataclass(frozen=True, slots=True)
class Product:
    id: int
    name: str
    description: str
    price_cents: int
    stock: int
    category: Category | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Address:
    street: str = ""
    city: str = ""
    state: str = ""
    zip_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One product of an order."""

    product_id: int
    name: str
    quantity: int
    unit_cents: int
    total_cents: int


@dataclass(frozen=True, slots=True)
class Order:
    id: int
    user_id: int
    lines: tuple[Line, ...]
    total_cents: int
    status: Status
    address: Address
    created_at: datetime
    updated_at: datetime
    payment_id: int = 0
    cursor: int = 0
    """Where its history stood when it was read; following goes on from there."""
    refunded_cents: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """A change of an order; `cursor` is its place in the order's history."""

    order_id: int
    status: Status
    message: str
    at: datetime
    cursor: int
    refunded_cents: int = 0


@dataclass(frozen=True, slots=True)
class Card:
    """A card on its way to the order service. Its repr is empty, so that no log can hold it."""

    number: str = field(repr=False)
    expiry: str = field(repr=False)
    cvv: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a log-in gives. The repr is empty."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the shop told a user."""

    title: str
    body: str
    at: datetime


class Problem(enum.Enum):
    """How a call to a service can fail, as a visitor sees it."""

    INVALID = "invalid"
    NOT_FOUND = "not-found"
    EXISTS = "exists"
    RULE = "rule"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    TIMEOUT = "timeout"
    BROKEN = "broken"


class ShopError(Exception):
    """A service refused or failed.

    Args:
        problem: Its kind.
        message: The service's own words.
        fields: What is wrong with each field, by its path in the request (`shipping_address.city`).
        reason: The stable reason of a broken rule (`OUT_OF_STOCK`), or empty.
        facts: What goes with the reason, such as the new total of PRICE_CHANGED.
        retry_after: Seconds after which trying again makes sense; None if the service did not say.
    """

    def __init__(
        self,
        problem: Problem,
        message: str = "",
        *,
        fields: Mapping[str, str] | None = None,
        reason: str = "",
        facts: Mapping[str, str] | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(f"{problem.value}: {message}")
        self.problem, self.message, self.reason = problem, message, reason
        self.facts = dict(facts or {})
        self.fields = dict(fields or {})
        self.retry_after = retry_after


#: Products that one call asks for.
MAX_PRODUCTS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page of a listing is: after a page token, or, without one, by its number from 1."""

    page: int = 1
    token: str = ""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A page of a listing, and the token of the next one; empty where there is none."""

    items: Sequence[T] = ()
    next_token: str = ""


class Catalogue(Protocol):
    """What can be bought. Needs no token."""

    async def product(self, product_id: int) -> Product: ...

    async def by_ids(self, product_ids: Sequence[int]) -> Mapping[int, Product]:
        """Those of the products that there are, by id; at most `MAX_PRODUCTS` at once."""
        ...

    async def page(self, place: Place, size: int, category: Category | None) -> Listed[Product]: ...

    async def search(
        self, query: str, category: Category | None, min_cents: int, max_cents: int, limit: int
    ) -> list[Product]:
        """At most `limit` products; a bound of 0 is none."""
        ...


class Updates(Protocol):
    """An open stream of updates; iterates until the replica that sends it leaves."""

    @property
    def endpoint(self) -> str | None:
        """The address that sends it."""
        ...

    def __aiter__(self) -> AsyncIterator[Update]: ...


class Orders(Protocol):
    """A user's orders; every method acts on behalf of the token's user."""

    async def create(
        self,
        token: str,
        user_id: int,
        quantities: Sequence[tuple[int, int]],
        address: Address,
        card: Card | None,
        key: str,
        expected_cents: int | None = None,
    ) -> Order:
        """Places an order once per `key`; `card` None pays from the wallet on file.

        Raises:
            ShopError: with the reason PRICE_CHANGED if it does not come to `expected_cents`.
        """
        ...

    async def order(self, token: str, order_id: int) -> Order: ...

    async def page(self, token: str, user_id: int, place: Place, size: int) -> Listed[Order]: ...

    async def set_status(self, token: str, order_id: int, status: Status) -> Order: ...

    def follow(self, token: str, order_id: int, after_cursor: int) -> AbstractAsyncContextManager[Updates]:
        """Later changes of an order, starting after the cursor (0: with the next one)."""
        ...


class Accounts(Protocol):
    """Who the visitor is."""

    async def login(self, login: str, password: str, address: str) -> Tokens:
        """`address`: the visitor's, by which wrong passwords are counted."""
        ...

    async def refresh(self, refresh_token: str) -> Tokens:
        """Asked twice with the same token in a row, it answers with tokens of the same log-in."""
        ...

    async def logout(self, refresh_token: str) -> None:
        """Ends the log-in that the token belongs to."""
        ...

    async def register(self, name: str, email: str, password: str, address: str) -> None: ...

    async def change_password(self, token: str, current: str, new: str, address: str) -> Tokens:
        """Ends all log-ins of the token's user, and begins the one whose tokens are returned."""
        ...

    async def forgotten_password(self, login: str, address: str) -> None:
        """Has a code mailed to the user, if there is one; the answer does not tell."""
        ...

    async def reset_password(self, code: str, new: str, address: str) -> None: ...

    async def delete(self, token: str, user_id: int, password: str, address: str) -> None:
        """Forgets the token's user, who knows its password."""
        ...


class Notices(Protocol):
    """What the shop has told a user."""

    async def latest(self, token: str, user_id: int, size: int) -> list[Notice]:
        """Newest first."""
        ...


@dataclass(frozen=True)
class Shop:
    """The ports together: all that the pages call."""

    catalogue: Catalogue
    orders: Orders
    accounts: Accounts
    notices: Notices
