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


def _nothing(page: Page) -> None: ...


@dataclass(frozen=True)
class Sight:
    """One page in one state.

    Args:
        name: What it is called in a test and in a picture's file.
        visitor: Whose browser: one of `Visitors`.
        path: Its address, a path in the shop, or a whole URL.
        ready: Brings the page that was opened into the state to look at, and waits for it.
        part: A selector of what this sight has beyond others: a picture shows it.
        leave: Puts back what `ready` did to the site.
    """

    name: str
    visitor: str
    path: str
    ready: Callable[[Page], None]
    part: str = "body"
    leave: Callable[[Page], None] = _nothing


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
        console: The console's address.
    """

    def __init__(self, browser: Browser, shop: str, console: str) -> None:
        self._browser, self.shop, self._console = browser, shop, console
        self.order = 0
        """An order of bob's."""
        self._cookies: dict[str, Any] = {"anybody": None}

    def prepare(self) -> None:
        """Let bob buy something and fill another cart, and let alice, an admin, log in at both sites."""
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
            page.goto(self._console)
            logs_in(page, "alice")
            expect(page.locator("#switches-who")).to_have_text("logged in as alice", timeout=PATIENCE)
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
            sight.leave(page)

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
    found = [*_shop(order), *_console(status["console"]), *_traces(status["traces"]), *_admin(status)]
    return [*found, *(_staged(status) if "gate" in status else ())]


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
    yield Sight("console", "anybody", console, _lives)
    for name, what in (("service", "product"), ("replica", "product/product-1"), ("edge", "order>product")):
        yield Sight(f"console-{name}", "anybody", console, chooses(what, _READ), "#detail")
    for name, what in (("service", "product"), ("replica", "product/product-1")):
        ready = chooses(what, f"{_READ} form[data-action=fault]")
        yield Sight(f"console-{name}-switches", "alice", console, ready, "#detail")
    yield Sight("console-switches", "alice", console, _disturbs, "#switches", _puts_back)
    yield Sight("console-lesson", "anybody", f"{console}/#lesson/kill", _predicts, "#lesson")


#: A panel all parts of which were read.
_READ = "#detail" + "".join(f":has(.{part}[data-read])" for part in ("traces", "logs", "settings"))


def _lives(page: Page) -> None:
    for sign in (".edge.busy", "#scenes td"):
        shows(sign)(page)


def logs_in(page: Page, name: str, password: str = "") -> None:
    """Fill in the console's form, and send it."""
    page.get_by_label("Name").fill(name)
    page.get_by_label("Password").fill(password or f"{name}-password")
    page.get_by_role("button", name="Log in").click()


def _disturbs(page: Page) -> None:
    page.evaluate("() => { location.hash = encodeURIComponent('product/product-2') }")
    page.locator("form[data-action=pause] button").click()
    shows("#disturbed button")(page)
    page.evaluate("() => { location.hash = '' }")
    page.get_by_text("Log of actions").click()
    shows("#log li")(page)


def _puts_back(page: Page) -> None:
    page.locator("#disturbed button").click()
    expect(page.locator("#disturbed button")).to_have_count(0, timeout=PATIENCE)


def _predicts(page: Page) -> None:
    page.get_by_role("radio").first.check()
    expect(page.locator("#lesson")).to_contain_text("Only an admin", timeout=PATIENCE)


def _staged(status: Mapping[str, Any]) -> Iterator[Sight]:
    """Return what only the stage can show at once: it has a console for each."""
    gate, console = status["gate"], status["console"]
    yield Sight("console-gate", "anybody", gate, shows("#sign-in"))
    yield Sight("console-gate-wrong", "anybody", gate, _refused)
    yield Sight("console-unread", "anybody", status["unread"], shows("#problem"))
    yield Sight("console-lost", "anybody", status["lost"], shows("#problem"))
    yield Sight("console-silent", "anybody", status["silent"], shows(".stale #live[data-state=waiting]"))
    for name, lesson, sign, leave in (
        ("running", "sick-replica", "#lesson .run button", _stops),
        ("passed", "kill", "#lesson [data-verdict=passed]", _nothing),
        ("failed", "retry-storm", "#lesson [data-verdict=failed]", _nothing),
    ):
        path = f"{console}/#lesson/{lesson}"
        yield Sight(f"console-lesson-{name}", "alice", path, _plays(sign), "#lesson", leave)
    yield Sight("console-scenes", "alice", console, _scenes, "#experiments")


def _refused(page: Page) -> None:
    logs_in(page, "alice", "not hers")
    expect(page.locator("#sign-in-problem")).not_to_be_empty(timeout=PATIENCE)


def _plays(sign: str) -> Callable[[Page], None]:
    """Play the lesson that is open, until there is a sign."""

    def ready(page: Page) -> None:
        page.get_by_role("radio").first.check()
        page.get_by_role("button", name="Break it and measure").click()
        shows(sign)(page)

    return ready


def _stops(page: Page) -> None:
    page.locator("#lesson .run button").click()
    shows("#lesson .verdict")(page)


def _scenes(page: Page) -> None:
    for scene, verdict in (("balance", "passed"), ("overload", "failed")):
        page.get_by_role("button", name=f"Play {scene}").click()
        expect(page.locator(f"[data-scene={scene}]")).to_contain_text(verdict, timeout=PATIENCE)


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
