"""Every page that the project serves, with a visitor who may see it: for tests and tools/screenshots."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from playwright.sync_api import Browser, BrowserContext, Page, expect

#: Milliseconds that a page may take on a loaded machine.
PATIENCE = 120_000.0
Scheme = Literal["light", "dark"]
SIZES: Mapping[str, tuple[int, int]] = {"desk": (1280, 900), "phone": (390, 844)}
VARIANTS: tuple[tuple[Scheme, str], ...] = (
    ("light", "desk"),
    ("dark", "desk"),
    ("light", "phone"),
    ("dark", "phone"),
)


def dress(page: Page, scheme: Scheme, size: str) -> None:
    """Show a page that is open in another scheme or size."""
    width, height = SIZES[size]
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": height})


@dataclass(frozen=True)
class Sight:
    """One page in one state.

    Args:
        name: What it is called in a test and in a picture's file.
        visitor: Whose browser: one of `Visitors`.
        path: Its address, a path in the shop, or a whole URL.
        ready: Brings the page that was opened into the state to look at, and waits for it.
    """

    name: str
    visitor: str
    path: str
    ready: Callable[[Page], None]


def shows(selector: str) -> Callable[[Page], None]:
    """Wait for something visible."""
    return lambda page: expect(page.locator(selector).first).to_be_visible(timeout=PATIENCE)


def chooses(what: str, sign: str) -> Callable[[Page], None]:
    """Choose something in the console: its address names it."""

    def ready(page: Page) -> None:
        shows(".node")(page)
        page.evaluate("what => { location.hash = encodeURIComponent(what) }", what)
        shows(sign)(page)

    return ready


class Visitors:
    """Browsers of people who have done something in the shop: cookies that new contexts begin with.

    Args:
        browser: Chromium.
        shop: The shop's address.
    """

    def __init__(self, browser: Browser, shop: str) -> None:
        self._browser, self.shop = browser, shop
        self.order = 0
        """An order of bob's."""
        self._cookies: dict[str, Any] = {"anybody": None}

    def prepare(self) -> None:
        """Let bob buy something and fill another cart, and let alice log in, who runs the shop."""
        with self.context("anybody") as context:
            page = context.new_page()
            self._buy(page)
            page.goto("/products/2")
            page.get_by_role("button", name="Add to cart").click()
            page.wait_for_load_state()
            self._cookies["bob"] = context.storage_state()
        with self.context("anybody") as context:
            page = context.new_page()
            page.goto("/login")
            self._log_in(page, "alice")
            self._cookies["alice"] = context.storage_state()

    @contextmanager
    def context(self, visitor: str) -> Iterator[BrowserContext]:
        """Yield a context with a visitor's cookies. Nothing moves in it, so that pictures are alike."""
        width, height = SIZES["desk"]
        context = self._browser.new_context(
            base_url=self.shop,
            storage_state=self._cookies[visitor],
            viewport={"width": width, "height": height},
            reduced_motion="reduce",
        )
        context.set_default_timeout(PATIENCE)
        try:
            yield context
        finally:
            context.close()

    @contextmanager
    def at(self, sight: Sight) -> Iterator[Page]:
        """Yield the page of a sight, in its state."""
        with self.context(sight.visitor) as context:
            page = context.new_page()
            page.goto(sight.path, wait_until="domcontentloaded")
            sight.ready(page)
            yield page

    def _log_in(self, page: Page, name: str) -> None:
        page.get_by_label("Name or email").fill(name)
        page.get_by_label("Password").fill(f"{name}-password")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("button", name="Log out")).to_be_visible(timeout=PATIENCE)

    def _buy(self, page: Page) -> None:
        page.goto("/products/1")
        page.get_by_role("button", name="Add to cart").click()
        page.get_by_role("link", name="Check out").click()
        self._log_in(page, "bob")
        for label, text in _ADDRESS.items():
            page.get_by_label(label).fill(text)
        page.get_by_role("button", name="Place the order").click()
        expect(page.get_by_text("Your order is placed")).to_be_visible(timeout=PATIENCE)
        found = re.search(r"/orders/(\d+)$", page.url)
        assert found, page.url
        self.order = int(found[1])


_ADDRESS = {
    "Street and number": "1 Loopback Lane",
    "Postal code": "12701",
    "City": "Springfield",
    "Country": "US",
    "Card number": "4242 4242 4242 4242",
    "Expires": "12/39",
    "CVV": "123",
}


def sights(status: Mapping[str, Any], order: int) -> list[Sight]:
    """Return every page of a cluster.

    Args:
        status: What `meshmart status --json` printed.
        order: An order of bob's.
    """
    return [*_shop(order), *_console(status["console"]), *_traces(status["traces"]), *_admin(status)]


def _shop(order: int) -> Iterator[Sight]:
    for name, visitor, path, sign in (
        ("home", "anybody", "/", ".card"),
        ("shelf", "bob", "/?category=books", ".card"),
        ("search", "anybody", "/search?q=a", ".card"),
        ("product", "anybody", "/products/1", ".bigprice"),
        ("cart", "bob", "/cart", ".lines"),
        ("cart-empty", "anybody", "/cart", ".empty"),
        ("checkout", "bob", "/checkout", "#card_number"),
        ("order", "bob", f"/orders/{order}", "#live[data-state=on]"),
        ("orders", "bob", "/orders", ".table"),
        ("account", "bob", "/account", "#current"),
        ("login", "anybody", "/login", "#login"),
        ("register", "anybody", "/register", "#password"),
        ("forgotten", "anybody", "/forgotten", "main input:not([type=hidden])"),
        ("reset", "anybody", "/reset", "#code"),
        ("error", "anybody", "/nowhere", ".empty"),
        ("admin-orders", "alice", "/orders?everyone=1", ".table"),
        ("admin-order", "alice", f"/orders/{order}", "#live[data-state=on]"),
    ):
        yield Sight(f"shop-{name}", visitor, path, shows(sign))
    yield Sight("shop-login-wrong", "anybody", "/login", _wrong)
    yield Sight("shop-checkout-wrong", "bob", "/checkout", _incomplete)
    yield Sight("shop-made", "anybody", "/products/1", _opened("#made"))


def _wrong(page: Page) -> None:
    page.get_by_label("Name or email").fill("bob")
    page.get_by_label("Password").fill("not his")
    page.get_by_role("button", name="Log in").click()
    shows(".notice.bad")(page)


def _incomplete(page: Page) -> None:
    for label, text in _ADDRESS.items():
        page.get_by_label(label).fill("1" if label.startswith("Card") else text)
    page.get_by_role("button", name="Place the order").click()
    shows("[aria-invalid]")(page)


def _opened(details: str) -> Callable[[Page], None]:
    return lambda page: page.locator(details).evaluate("panel => { panel.open = true }")


def _console(console: str) -> Iterator[Sight]:
    yield Sight("console", "anybody", console, shows(".edge.busy"))
    yield Sight("console-service", "anybody", console, chooses("product", "#detail tr[data-replica]"))
    yield Sight("console-replica", "anybody", console, chooses("product/product-1", "#detail-title"))
    yield Sight("console-edge", "anybody", console, chooses("order>product", "#detail-title"))


def _traces(traces: str) -> Iterator[Sight]:
    yield Sight("traces", "anybody", f"{traces}/", shows("tbody tr"))
    yield Sight("traces-none", "anybody", f"{traces}/?service=&min_ms=3600000", shows(".none"))
    yield Sight("trace", "anybody", f"{traces}/", _followed)
    yield Sight("trace-missing", "anybody", f"{traces}/trace/{'0' * 32}", shows("h1"))


def _followed(page: Page) -> None:
    """Open the newest trace of an order that is placed, and its first span."""
    page.get_by_role("link", name="POST /checkout").first.click()
    shows("summary")(page)
    page.locator("details").first.evaluate("row => { row.open = true }")


def _admin(status: Mapping[str, Any]) -> Iterator[Sight]:
    replica = status["services"]["order"]["replicas"][0]["metrics"]
    yield Sight("admin", "anybody", replica.removesuffix("metrics"), shows("#state .table"))
