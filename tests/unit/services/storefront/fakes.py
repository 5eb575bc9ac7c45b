"""The shop's ports in memory: what the services promise, without them."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx

from services.storefront.app import build_app
from services.storefront.domain import (
    Address,
    Card,
    Category,
    Line,
    Listed,
    Notice,
    Order,
    Place,
    Problem,
    Product,
    Shop,
    ShopError,
    Status,
    Tokens,
    Update,
    Updates,
)
from services.storefront.settings import Settings
from services.storefront.site import Site
from services.storefront.trail import Step, record

T = TypeVar("T")
BASE = "http://shop.test"
BEGINNING = datetime(2026, 11, 21, 14, 3, tzinfo=UTC)
FAR = 4_000_000_000


def jwt(user_id: int, name: str, roles: Sequence[str] = ("user",), expires_at: float = FAR) -> str:
    """A token as the user service makes it, but for the signature."""
    claims = {"sub": str(user_id), "name": name, "roles": list(roles), "exp": expires_at}
    part = base64.urlsafe_b64encode(json.dumps(claims).encode()).rstrip(b"=").decode()
    return f"e30.{part}.sig"


ALICE, BOB = jwt(1, "alice", ("user", "admin")), jwt(2, "bob")


class FakeLog:
    """Keeps what was logged."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []

    def info(self, message: str, **fields: object) -> None:
        self.lines.append({"message": message, **fields})

    def error(self, message: str, error: BaseException | None = None, **fields: object) -> None:
        self.lines.append({"message": message, "error": error, **fields})


def _called(target: str, method: str, n: int = 1) -> None:
    record(Step(target, method, f"127.0.1.{n}:50051", f"{target}-{n}", 1.5, 1, "OK"))


def _listed(items: Sequence[T], place: Place, size: int) -> Listed[T]:
    """The token of a page is what comes before it: `after-12`."""
    start = int(place.token.removeprefix("after-")) if place.token else (place.page - 1) * size
    end = start + size
    return Listed(items[start:end], f"after-{end}" if end < len(items) else "")


class FakeCatalogue:
    def __init__(self, products: Sequence[Product]) -> None:
        self.products = {p.id: p for p in products}
        self.fails: ShopError | None = None

    async def product(self, product_id: int) -> Product:
        _called("product", "GetProduct", product_id % 3 + 1)
        self._maybe_fail()
        if product_id not in self.products:
            raise ShopError(Problem.NOT_FOUND, f"product {product_id} not found")
        return self.products[product_id]

    async def by_ids(self, product_ids: Sequence[int]) -> Mapping[int, Product]:
        _called("product", "GetProducts")
        self._maybe_fail()
        return {each: self.products[each] for each in product_ids if each in self.products}

    async def page(self, place: Place, size: int, category: Category | None) -> Listed[Product]:
        _called("product", "ListProducts", 2)
        self._maybe_fail()
        fitting = [p for p in self.products.values() if category in (None, p.category)]
        return _listed(fitting, place, size)

    async def search(
        self, query: str, category: Category | None, min_cents: int, max_cents: int, limit: int
    ) -> list[Product]:
        _called("product", "SearchProducts", 3)
        self._maybe_fail()
        return [
            p
            for p in self.products.values()
            if query.lower() in f"{p.name} {p.description}".lower()
            and category in (None, p.category)
            and min_cents <= p.price_cents <= (max_cents or p.price_cents)
        ][:limit]

    def _maybe_fail(self) -> None:
        if self.fails:
            raise self.fails


class FakeStream:
    """Updates put in by the test; `None` ends it as a draining replica does."""

    endpoint = "127.0.2.1:50051"

    def __init__(self) -> None:
        self.queue: asyncio.Queue[Update | ShopError | None] = asyncio.Queue(100)

    async def __aiter__(self) -> AsyncIterator[Update]:
        while (item := await self.queue.get()) is not None:
            if isinstance(item, ShopError):
                raise item
            yield item


class FakeOrders:
    """Keys, owners and errors as the order service has them."""

    def __init__(self, catalogue: FakeCatalogue) -> None:
        self.catalogue = catalogue
        self.orders: dict[int, Order] = {}
        self.keys: dict[str, int] = {}
        self.cards: list[Card | None] = []
        #: What the buyers had been shown, in cents.
        self.expected: list[int | None] = []
        self.fails: ShopError | None = None
        #: The cursors that streams were opened after, and the streams, in order.
        self.followed: list[int] = []
        self.streams: list[FakeStream] = []

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
        _called("order", "CreateOrder")
        self._maybe_fail()
        if card is not None and len(card.number) == 1:
            raise ShopError(Problem.INVALID, fields={"payment.credit_card.number": "is not a card number"})
        self.cards.append(card)
        self.expected.append(expected_cents)
        if key not in self.keys:
            order_id = len(self.orders) + 1
            lines = tuple(self._line(p, q) for p, q in quantities)
            total = sum(line.total_cents for line in lines)
            if expected_cents not in (None, total):
                facts = {"total_cents": str(total), "expected_total_cents": str(expected_cents)}
                raise ShopError(Problem.RULE, "prices have changed", reason="PRICE_CHANGED", facts=facts)
            made = (Status.CONFIRMED, address, BEGINNING, BEGINNING, 1, 3)
            self.orders[order_id] = Order(order_id, user_id, lines, total, *made)
            self.keys[key] = order_id
        return self.orders[self.keys[key]]

    async def order(self, token: str, order_id: int) -> Order:
        _called("order", "GetOrder", 2)
        self._maybe_fail()
        if order_id not in self.orders:
            raise ShopError(Problem.NOT_FOUND, f"order {order_id} not found")
        order = self.orders[order_id]
        if token != ALICE and token != jwt(order.user_id, "bob"):
            raise ShopError(Problem.FORBIDDEN, "not your order")
        return order

    async def page(self, token: str, user_id: int, place: Place, size: int) -> Listed[Order]:
        _called("order", "ListOrders")
        self._maybe_fail()
        mine = [o for o in reversed(self.orders.values()) if user_id in (0, o.user_id)]
        return _listed(mine, place, size)

    async def set_status(self, token: str, order_id: int, status: Status) -> Order:
        _called("order", "UpdateOrderStatus")
        order = await self.order(token, order_id)
        if token != ALICE and status is not Status.CANCELLED:
            raise ShopError(Problem.FORBIDDEN, "a buyer may only cancel")
        if order.status in (Status.CANCELLED, Status.DELIVERED):
            raise ShopError(Problem.RULE, "that is no longer possible", reason="ILLEGAL_STATUS_CHANGE")
        self.orders[order_id] = replace(order, status=status)
        return self.orders[order_id]

    @asynccontextmanager
    async def follow(self, token: str, order_id: int, after_cursor: int) -> AsyncIterator[Updates]:
        self.followed.append(after_cursor)
        stream = FakeStream()
        self.streams.append(stream)
        yield stream

    def _line(self, product_id: int, quantity: int) -> Line:
        p = self.catalogue.products[product_id]
        return Line(p.id, p.name, quantity, p.price_cents, p.price_cents * quantity)

    def _maybe_fail(self) -> None:
        if self.fails:
            raise self.fails


class FakeAccounts:
    def __init__(self) -> None:
        self.people = {"alice": ("alice-password", ALICE), "bob": ("bob-password", BOB)}
        self.refreshed: list[str] = []
        self.ended: list[str] = []
        self.addresses: list[str] = []
        self.codes: dict[str, str] = {}
        self.fails: ShopError | None = None

    async def login(self, login: str, password: str, address: str) -> Tokens:
        _called("user", "Login")
        self.addresses.append(address)
        if self.fails:
            raise self.fails
        name = login.removesuffix("@example.com")
        if self.people.get(name, ("", ""))[0] != password or not password:
            raise ShopError(Problem.LOGIN, f"no user {login}")
        return Tokens(self.people[name][1], f"refresh-{name}")

    async def refresh(self, refresh_token: str) -> Tokens:
        _called("user", "RefreshToken")
        if self.fails:
            raise self.fails
        self.refreshed.append(refresh_token)
        name = refresh_token.removeprefix("refresh-")
        if name not in self.people or refresh_token in self.ended:
            raise ShopError(Problem.LOGIN, "no such log-in")
        return Tokens(self.people[name][1], f"{refresh_token}-2")

    async def logout(self, refresh_token: str) -> None:
        _called("user", "Logout")
        if self.fails:
            raise self.fails
        self.ended.append(refresh_token)

    async def register(self, name: str, email: str, password: str, address: str) -> None:
        _called("user", "CreateUser")
        if "@" not in email:
            raise ShopError(Problem.INVALID, fields={"email": "is not an email address"})
        if name in self.people:
            raise ShopError(Problem.EXISTS, f"user {name} already exists")
        self.people[email.partition("@")[0]] = (password, jwt(9, name))

    async def change_password(self, token: str, current: str, new: str, address: str) -> Tokens:
        _called("user", "ChangePassword")
        name = next(name for name, (_, known) in self.people.items() if known == token)
        self._check(name, current, new)
        self.people[name] = (new, token)
        return Tokens(token, f"refresh-{name}")

    async def forgotten_password(self, login: str, address: str) -> None:
        _called("user", "RequestPasswordReset")
        if self.fails:
            raise self.fails
        if login in self.people:
            self.codes[f"code-of-{login}"] = login

    async def reset_password(self, code: str, new: str, address: str) -> None:
        _called("user", "ResetPassword")
        if code not in self.codes:
            raise ShopError(Problem.RULE, "no such code", reason="RESET_CODE")
        name = self.codes.pop(code)
        self.people[name] = (new, self.people[name][1])

    async def delete(self, token: str, user_id: int, password: str, address: str) -> None:
        _called("user", "DeleteUser")
        name = next(name for name, (_, known) in self.people.items() if known == token)
        self._check(name, password, "long enough")
        del self.people[name]

    def _check(self, name: str, current: str, new: str) -> None:
        if len(new) < 8:
            raise ShopError(Problem.INVALID, fields={"new_password": "must have at least 8 characters"})
        if self.people[name][0] != current:
            raise ShopError(Problem.FORBIDDEN, "another", reason="WRONG_PASSWORD")


class FakeNotices:
    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self.fails: ShopError | None = None

    async def latest(self, token: str, user_id: int, size: int) -> list[Notice]:
        _called("notification", "ListNotifications")
        if self.fails:
            raise self.fails
        return self.notices[:size]


def _replica(endpoint: str) -> str:
    return {"127.0.2.1:50051": "order-1"}.get(endpoint, endpoint)


class FakeShop:
    """The ports and an HTTP client of the application on top of them."""

    def __init__(self, products: Sequence[Product], settings: Settings | None = None) -> None:
        self.catalogue = FakeCatalogue(products)
        self.orders, self.accounts, self.log = FakeOrders(self.catalogue), FakeAccounts(), FakeLog()
        self.closing = asyncio.Event()
        self.notices = FakeNotices()
        self.shop = Shop(self.catalogue, self.orders, self.accounts, self.notices)
        self.site = Site(
            self.shop, settings or Settings(traces_url="http://traces.test"), "storefront-1", _replica
        )
        self.app = build_app(self.site, self.log, self.closing)

    def client(self, **options: Any) -> httpx.AsyncClient:
        """A browser without redirects, so that each step can be looked at."""
        transport = httpx.ASGITransport(self.app)
        return httpx.AsyncClient(transport=transport, base_url=BASE, **options)

    def update(self, cursor: int, status: Status = Status.SHIPPED) -> Update:
        return Update(1, status, "on its way", BEGINNING + timedelta(minutes=cursor), cursor)


async def send(client: httpx.AsyncClient, path: str, **fields: str) -> httpx.Response:
    """Sends a form as the shop's own page would."""
    return await client.post(path, data={"csrf": client.cookies["csrf"], **fields})


ADDRESS = {"street": "1 Main", "city": "Springfield", "zip_code": "12345", "country": "US"}
CARD = {"pay": "card", "card_number": "4242424242424242", "card_expiry": "12/39", "card_cvv": "987"}
