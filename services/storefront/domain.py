"""The domain of the shop's pages: things to show, kinds of failure, and ports that the services implement.

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
    """A category of products. The value is its name in URLs."""

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
        """Return the category of a URL's slug, or None for anything else."""
        return next((c for c in cls if c.value == slug), None)


class Status(enum.Enum):
    """The status of an order."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    SHIPPED = "shipped"
    DELIVERED = "delivered"
    CANCELLED = "cancelled"
    REFUNDED = "refunded"

    @property
    def label(self) -> str:
        return self.value.capitalize()


#: The ordinary sequence of statuses, as the order page draws it.
STEPS = (Status.PENDING, Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
#: The statuses to which an admin may change an order, by its current one. The order service decides.
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
    """The cursor of the last change at the time of reading; following continues from there."""
    refunded_cents: int = 0


@dataclass(frozen=True, slots=True)
class Update:
    """A change of an order. `cursor` is its position in the order's history."""

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
    """The tokens of a log-in. The repr is empty."""

    access: str = field(repr=False)
    refresh: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Notice:
    """A notification from the shop to a user."""

    title: str
    body: str
    at: datetime


class Problem(enum.Enum):
    """A kind of failure of a call to a service, as a visitor sees it."""

    INVALID = "invalid"
    NOT_FOUND = "not-found"
    EXISTS = "exists"
    RULE = "rule"
    LOGIN = "login"
    FORBIDDEN = "forbidden"
    BUSY = "busy"
    UNAVAILABLE = "unavailable"
    #: The replica that answered is of an older release and does not have the method.
    UNSUPPORTED = "unsupported"
    TIMEOUT = "timeout"
    BROKEN = "broken"


class ShopError(Exception):
    """A service refused or failed.

    Args:
        problem: The kind of failure.
        message: The service's own message.
        fields: What is wrong with each field, by its path in the request (`shipping_address.city`).
        reason: The stable reason of a broken rule (`OUT_OF_STOCK`), or empty.
        facts: Data that belongs to the reason, such as the new total of PRICE_CHANGED.
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


#: The most products in one call.
MAX_PRODUCTS = 100


@dataclass(frozen=True, slots=True)
class Place:
    """The position of a page in a listing: after a page token or, without one, by its number from 1."""

    page: int = 1
    token: str = ""


@dataclass(frozen=True, slots=True)
class Listed(Generic[T]):
    """A page of a listing, and the token of the next one; empty if there is none."""

    items: Sequence[T] = ()
    next_token: str = ""


class Catalogue(Protocol):
    """Port: the products. Needs no token."""

    async def product(self, product_id: int) -> Product: ...

    async def by_ids(self, product_ids: Sequence[int]) -> Mapping[int, Product]:
        """Return those products that exist, by id; at most `MAX_PRODUCTS` at once."""
        ...

    async def page(self, place: Place, size: int, category: Category | None) -> Listed[Product]: ...

    async def search(
        self, query: str, category: Category | None, min_cents: int, max_cents: int, limit: int
    ) -> list[Product]:
        """Return at most `limit` products. A bound of 0 means none."""
        ...


class Updates(Protocol):
    """An open stream of updates. Iteration ends when the replica that serves it drains."""

    @property
    def endpoint(self) -> str | None:
        """Return the address of the replica that serves the stream."""
        ...

    def __aiter__(self) -> AsyncIterator[Update]: ...


class Orders(Protocol):
    """Port: a user's orders. Every method acts on behalf of the token's user."""

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
        """Place an order, once per `key`. If `card` is None, the wallet on file pays.

        Raises:
            ShopError: with the reason PRICE_CHANGED if the total is not `expected_cents`.
        """
        ...

    async def order(self, token: str, order_id: int) -> Order: ...

    async def page(self, token: str, user_id: int, place: Place, size: int) -> Listed[Order]: ...

    async def set_status(self, token: str, order_id: int, status: Status) -> Order: ...

    def follow(self, token: str, order_id: int, after_cursor: int) -> AbstractAsyncContextManager[Updates]:
        """Open a stream of an order's changes after the cursor; 0 begins with the next change."""
        ...


class Accounts(Protocol):
    """Port: log-ins and accounts."""

    async def login(self, login: str, password: str, address: str) -> Tokens:
        """Log in. `address` is the visitor's, by which wrong passwords are counted."""
        ...

    async def refresh(self, refresh_token: str) -> Tokens:
        """Renew the tokens. Repeated at once with the same token, it returns tokens of the same log-in."""
        ...

    async def logout(self, refresh_token: str) -> None:
        """End the log-in that the token belongs to."""
        ...

    async def register(self, name: str, email: str, password: str, address: str) -> None: ...

    async def change_password(self, token: str, current: str, new: str, address: str) -> Tokens:
        """Change the password, end all log-ins of the token's user, and return the tokens of a new one."""
        ...

    async def forgotten_password(self, login: str, address: str) -> None:
        """Have a code mailed to the user, if there is one; the answer does not reveal that."""
        ...

    async def reset_password(self, code: str, new: str, address: str) -> None: ...

    async def delete(self, token: str, user_id: int, password: str, address: str) -> None:
        """Delete the token's user, who proves its identity by the password."""
        ...


class Notices(Protocol):
    """Port: the shop's notifications to a user."""

    async def latest(self, token: str, user_id: int, size: int) -> list[Notice]:
        """Return the latest notifications, the newest first."""
        ...


@dataclass(frozen=True)
class Shop:
    """All ports that the pages use."""

    catalogue: Catalogue
    orders: Orders
    accounts: Accounts
    notices: Notices
