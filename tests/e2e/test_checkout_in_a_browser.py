"""A person buys something: a real browser, the real shop, and the trace that the order left behind."""

import json
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.e2e.conftest import RunningCluster

pytestmark = pytest.mark.browser

CHROMIUM = Path(os.environ.get("MESHMART_CHROMIUM", "/usr/bin/chromium"))
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
#: Milliseconds that a page may take on a loaded machine, also where a step names no timeout.
PATIENCE = 60_000.0
expect.set_options(timeout=PATIENCE)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        problem = f"{CHROMIUM} is not there: install Chromium, or name it in MESHMART_CHROMIUM"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def shop(cluster: RunningCluster, browser: Browser) -> Iterator["Shop"]:
    shop = Shop(cluster.storefront, browser)
    yield shop
    shop.close()


@dataclass
class Shop:
    """The shop's address and a browser to visit it with; each visitor has cookies of its own."""

    url: str
    browser: Browser

    def __post_init__(self) -> None:
        self.complaints: list[str] = []

    def visitor(self) -> Page:
        context = self.browser.new_context(base_url=self.url)
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda m: self.complaints.append(m.text) if "Content Security" in m.text else None)
        return page

    def close(self) -> None:
        for context in self.browser.contexts:
            context.close()


def log_in(page: Page, name: str) -> None:
    page.get_by_label("Name or email").fill(name)
    page.get_by_label("Password").fill(f"{name}-password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_text(f"Hi, {name}")).to_be_visible(timeout=PATIENCE)


def replicas_in_the_footer(page: Page) -> list[str]:
    """Which replicas the page says it came from."""
    page.locator("#made").evaluate("panel => { panel.open = true }")
    return page.locator("#made tbody td:first-child").all_inner_texts()


def find_and_add(page: Page) -> None:
    """From the list, by the search, to a product in the cart."""
    page.goto("/")
    expect(page.locator(".card").first).to_be_visible()
    assert all(re.fullmatch(r"product-\d+", name) for name in replicas_in_the_footer(page))
    page.get_by_label("Search the shop").fill("headphones")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("link", name=re.compile("Headphones")).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Headphones")
    page.get_by_label("Quantity").fill("2")
    page.get_by_role("button", name="Add to cart").click()
    expect(page.get_by_text("$498.00").first).to_be_visible()


def check_out(page: Page, card: str = "4242 4242 4242 4242") -> None:
    page.get_by_label("Street and number").fill("1 Loopback Lane")
    page.get_by_label("Postal code").fill("12701")
    page.get_by_label("City").fill("Springfield")
    page.get_by_label("Country").fill("US")
    page.get_by_label("Card number").fill(card)
    page.get_by_label("Expires").fill("12/39")
    page.get_by_label("CVV").fill("123")
    page.get_by_role("button", name="Place the order").click()


def buy(page: Page) -> int:
    """The whole way as bob; returns the order's id, its page being open."""
    find_and_add(page)
    page.get_by_role("link", name="Check out").click()
    log_in(page, "bob")
    check_out(page)
    expect(page.get_by_text("Your order is placed")).to_be_visible(timeout=PATIENCE)
    found = re.search(r"/orders/(\d+)$", page.url)
    assert found, page.url
    return int(found[1])


def test_a_person_finds_a_product_logs_in_and_buys_it(shop: Shop) -> None:
    page = shop.visitor()
    order_id = buy(page)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"Order {order_id}")
    expect(page.locator("#status")).to_have_text("Confirmed")
    expect(page.locator("#live")).to_have_attribute("data-state", "on", timeout=PATIENCE)
    assert any(re.fullmatch(r"order-\d+", name) for name in replicas_in_the_footer(page))
    page.goto("/orders")
    expect(page.get_by_role("link", name=f"Order {order_id}", exact=True)).to_be_visible()
    page.goto("/cart")
    expect(page.get_by_text("Your cart is empty")).to_be_visible()
    assert shop.complaints == []


def test_an_open_order_page_follows_what_somebody_else_does(shop: Shop) -> None:
    bobs = shop.visitor()
    order_id = buy(bobs)
    expect(bobs.locator("#live")).to_have_attribute("data-state", "on", timeout=PATIENCE)
    bobs.evaluate("window.neverReloaded = true")

    alices = shop.visitor()
    alices.goto(f"/login?next=/orders/{order_id}")
    log_in(alices, "alice")
    alices.get_by_role("button", name="Mark as shipped").click()
    expect(alices.locator("#status")).to_have_text("Shipped")

    expect(bobs.locator("#status")).to_have_text("Shipped", timeout=PATIENCE)
    expect(bobs.locator("#log li").first).to_contain_text("Shipped")
    expect(bobs.locator("#live")).to_contain_text(re.compile(r"Live, from order-\d+"))
    assert bobs.evaluate("window.neverReloaded")
    assert shop.complaints == []


def test_an_open_order_page_outlives_every_replica_behind_it(shop: Shop, cluster: RunningCluster) -> None:
    bobs = shop.visitor()
    order_id = buy(bobs)
    expect(bobs.locator("#live")).to_have_attribute("data-state", "on", timeout=PATIENCE)
    bobs.evaluate("window.neverReloaded = true")
    cluster.meshmart("restart", "order")
    cluster.meshmart("restart", "storefront")

    alices = shop.visitor()
    alices.goto(f"/login?next=/orders/{order_id}")
    log_in(alices, "alice")
    alices.get_by_role("button", name="Mark as shipped").click()
    expect(alices.locator("#status")).to_have_text("Shipped")
    alices.get_by_role("button", name="Mark as delivered").click()

    expect(bobs.locator("#status")).to_have_text("Delivered", timeout=PATIENCE)
    told = bobs.locator("#log li").all_inner_texts()
    assert [re.findall("Shipped|Delivered", line)[0] for line in told] == ["Delivered", "Shipped"]
    assert bobs.evaluate("window.neverReloaded")


def followed(cluster: RunningCluster) -> float:
    """How many streams of updates the order service has begun."""
    begun = 0.0
    for replica in cluster.status()["services"]["order"]["replicas"]:
        with urllib.request.urlopen(replica["metrics"], timeout=10) as page:
            lines = page.read().decode().splitlines()
        begun += sum(
            float(line.rpartition(" ")[2])
            for line in lines
            if line.startswith("grpc_server_started_total{") and "StreamOrderUpdates" in line
        )
    return begun


def test_the_page_of_an_order_that_is_over_asks_for_nothing_any_more(
    shop: Shop, cluster: RunningCluster
) -> None:
    bobs = shop.visitor()
    order_id = buy(bobs)
    bobs.get_by_role("button", name="Cancel the order").click()
    expect(bobs.locator("#status")).to_have_text("Cancelled", timeout=PATIENCE)
    # The page that shows that asks, too: it must have done so before the count.
    expect(bobs.locator("#live")).to_contain_text("Nothing more will happen", timeout=PATIENCE)
    before = followed(cluster)
    bobs.goto(f"/orders/{order_id}")
    expect(bobs.locator("#live")).to_contain_text("Nothing more will happen", timeout=PATIENCE)
    bobs.wait_for_timeout(5_000)  # in which it asked five times
    assert followed(cluster) - before == 1


def test_a_declined_card_says_so_and_keeps_the_cart(shop: Shop) -> None:
    page = shop.visitor()
    find_and_add(page)
    page.get_by_role("link", name="Check out").click()
    log_in(page, "bob")
    check_out(page, card="4000 0000 0000 0002")
    expect(page.get_by_role("alert")).to_contain_text("declined", timeout=PATIENCE)
    expect(page.get_by_label("City")).to_have_value("Springfield")
    expect(page.get_by_label("Card number")).to_have_value("")
    expect(page.get_by_text("2 in the cart")).to_be_visible()


def test_the_trace_of_a_checkout_joins_all_the_services_parent_to_child(
    shop: Shop, cluster: RunningCluster
) -> None:
    page = shop.visitor()
    buy(page)
    link = page.get_by_role("link", name="see how it travelled")
    trace_id = link.get_attribute("data-trace") or ""
    spans = spans_of(cluster.traces, trace_id)
    assert {method: ancestors(spans, method) for method in ANCESTORS} == ANCESTORS
    roots = [span for span in spans if not span["parent_id"]]
    assert [root["name"] for root in roots] == ["POST /checkout"]
    link.click()
    expect(page.get_by_text("ReserveStock").first).to_be_visible()


#: The services of the spans from a checkout's request to what serves it.
ANCESTORS = {
    "CreateOrder": ["storefront", "storefront", "order"],
    "ReserveStock": ["storefront", "storefront", "order", "order", "product"],
    "ProcessPayment": ["storefront", "storefront", "order", "order", "payment"],
}


def ancestors(spans: list[dict[str, Any]], method: str) -> list[str]:
    """Return the services of the spans from the root to what served the method, as far as they are there."""
    by_id = {span["span_id"]: span for span in spans}
    span = next((s for s in spans if s["name"].endswith(method) and s["kind"] == "server"), None)
    services = []
    while span is not None:
        services.insert(0, span["service"])
        span = by_id.get(span["parent_id"])
    return services


def spans_of(traces: str, trace_id: str) -> list[dict[str, Any]]:
    """The trace's spans, once all have arrived: each process sends its own, a part at a time."""
    spans: list[dict[str, Any]] = []
    give_up = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < give_up:
        try:
            with urllib.request.urlopen(f"{traces}/api/traces/{trace_id}", timeout=30) as response:
                spans = json.load(response)["spans"]
        except urllib.error.HTTPError as e:
            e.close()
        if all(len(ancestors(spans, method)) == len(way) for method, way in ANCESTORS.items()):
            return spans
        time.sleep(0.2)
    pytest.fail(f"trace {trace_id!r} is incomplete: {[(s['service'], s['name']) for s in spans]}")
