"""The panel of a choice in a real browser: its traces, log lines and settings are those of the choice."""

import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.routing import Route

from grpcmesh.admin.server import Settings
from grpcmesh.clock import monotonic
from local.traces import Span
from local.traces.server import TraceServer
from meshmart.console import panel
from meshmart.console.reads import Reads
from tests.e2e.test_checkout_in_a_browser import browser
from tests.e2e.test_console_in_a_browser import ADDRESSES, LONG, Mesh, opened
from tests.integration.meshmart.test_console import Console
from tests.unit.local.test_traces import span

pytestmark = pytest.mark.browser
__all__ = ["browser"]
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


def logged(replica: str, second: int, msg: str, **fields: Any) -> str:
    head = {"ts": f"2026-01-01T00:00:{second:02}.000Z", "level": "INFO", "replica": replica, "msg": msg}
    return json.dumps(head | fields)


LOGS = {
    "product/1": [
        logged("product-1", 1, "the first replica"),
        logged("product-1", 3, "call", caller="order"),
    ],
    "product/2": [logged("product-2", 2, HOSTILE, trace_id="ab" * 16)],
    "order/1": [logged("order-1", 4, "an order was placed")],
}
#: Of an order that calls product-1, and of a page that calls product-2 alone.
SPANS = [
    span("ab" * 16, "a", service="order", name=HOSTILE, end=0.25),
    span("ab" * 16, "b", "a", service="product", replica="product-1"),
    span("cd" * 16, "a", service="storefront", replica="storefront-1", name="GET /"),
    span("cd" * 16, "b", "a", service="product", replica="product-2", error=True),
]


class Watched(Console):
    """A console over a cluster with logs and traces."""

    def __init__(self) -> None:
        super().__init__()
        self.servers: dict[str, str] = {}

    async def status(self) -> dict[str, Any]:
        return await super().status() | self.servers

    async def logs(self, service: str, replica: int, lines: int) -> Sequence[str]:
        return LOGS[f"{service}/{replica}"][-lines:]


class PanelMesh(Mesh):
    """A mesh whose processes say their settings, with a trace store beside it."""

    console: Watched

    def made(self) -> Console:
        return Watched()

    def routes(self) -> Sequence[Route]:
        return panel.routes(self.console.poller, self.console, Reads(monotonic))

    def settings(self, name: str) -> Settings | None:
        own = [
            {"name": "MESH_REPLICA", "value": name, "source": "environment"},
            {"name": "MESH_RETRY_MAX_ATTEMPTS", "value": "3", "source": HOSTILE},
            {"name": "MESH_DRAIN_GRACE", "value": "5.0", "source": "default"},
        ]
        of_product = [{"name": "product: port", "value": "50051", "source": "MESH_RESOLVER_PORT"}]
        return lambda: {"": own, **({"product": of_product} if name == "order-1" else {})}

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        async with TraceServer("127.0.0.1:0", "127.0.0.1:0") as traces:
            traces.store.add(_now(SPANS))
            self.console.servers["traces"] = f"http://127.0.0.1:{traces.http_port}"
            yield


def _now(spans: Sequence[Span]) -> Sequence[Span]:
    return [replace(s, start=s.start + 1_800_000_000, end=s.end + 1_800_000_000) for s in spans]


@pytest.fixture
def mesh() -> Iterator[PanelMesh]:
    with PanelMesh() as running:
        running.processes["order-1"].calls("product", "ProductService", 3, endpoint=ADDRESSES[0])
        yield running


@pytest.fixture
def page(mesh: PanelMesh, browser: Browser) -> Iterator[Page]:
    with opened(mesh, browser) as page:
        yield page


def choose(page: Page, name: str) -> None:
    """Open the panel of a choice, by the address of the page."""
    page.evaluate("(name) => { location.hash = encodeURIComponent(name); }", name)


def test_a_replica_has_its_own_traces_lines_and_settings(page: Page) -> None:
    choose(page, "product/product-1")
    expect(page.locator("#detail-title")).to_have_text("product-1", timeout=LONG)
    expect(page.locator(".traces li")).to_have_count(1, timeout=LONG)
    expect(page.locator(".logs li")).to_have_count(2, timeout=LONG)
    expect(page.locator(".logs li").first).to_contain_text("the first replica")
    rows = page.locator(".settings tbody tr")
    expect(rows).to_have_count(2, timeout=LONG)
    expect(rows.first).to_have_text("MESH_REPLICAproduct-1environment")
    page.get_by_role("button", name="Show defaults").click()
    expect(rows).to_have_count(3)
    choose(page, "product/product-2")
    expect(page.locator("#detail-title")).to_have_text("product-2", timeout=LONG)
    expect(page.locator(".traces li")).to_contain_text("GET /", timeout=LONG)
    expect(page.locator(".traces li")).to_contain_text("failed")
    expect(rows.first).to_contain_text("product-2", timeout=LONG)


def test_an_edge_has_the_traces_and_lines_of_its_calls(page: Page) -> None:
    choose(page, "order>product")
    expect(page.locator("#detail-title")).to_have_text("order → product", timeout=LONG)
    expect(page.locator(".traces li")).to_have_count(1, timeout=LONG)
    expect(page.locator(".logs li")).to_have_count(1, timeout=LONG)
    expect(page.locator(".logs li")).to_contain_text("caller=order")
    expect(page.locator(".settings tbody tr").first).to_contain_text("product: port", timeout=LONG)


def test_what_processes_say_is_shown_as_text(page: Page) -> None:
    choose(page, "product")
    expect(page.locator(".logs")).to_contain_text(HOSTILE, timeout=LONG)
    expect(page.locator(".traces")).to_contain_text(HOSTILE, timeout=LONG)
    expect(page.locator(".settings")).to_contain_text(HOSTILE, timeout=LONG)
    assert page.locator("#detail img, #detail script").count() == 0
    expect(page).to_have_title("Meshmart console")


def test_a_trace_and_a_line_link_to_the_trace_store(page: Page, mesh: PanelMesh) -> None:
    choose(page, "product/product-2")
    store = mesh.console.servers["traces"]
    link = page.locator(".traces li a")
    expect(link).to_have_attribute("href", f"{store}/trace/{'cd' * 16}", timeout=LONG)
    expect(page.locator(".logs li a")).to_have_attribute("href", f"{store}/trace/{'ab' * 16}", timeout=LONG)
    link.click()
    expect(page.locator("h1")).to_have_text("GET /", timeout=LONG)


def test_the_focus_and_the_elements_stay_when_the_panel_is_read_again(page: Page) -> None:
    choose(page, "product/product-1")
    with page.expect_response("**/api/logs*", timeout=LONG):
        pass
    lines = page.locator(".logs .reel")
    expect(lines.locator("li")).to_have_count(2, timeout=LONG)
    lines.focus()
    lines.locator("li").first.evaluate("(line) => { line.dataset.mine = 'yes'; }")
    with page.expect_response("**/api/logs*", timeout=LONG):
        pass
    expect(lines).to_be_focused()
    expect(lines.locator("li[data-mine=yes]")).to_have_count(1)


def test_without_a_prometheus_only_the_last_quarter_of_an_hour_is_offered(page: Page) -> None:
    choose(page, "product")
    expect(page.locator("#detail .panel-head").first).to_contain_text("the last 15 minutes", timeout=LONG)
    expect(page.locator(".ranges")).to_be_hidden()


def test_the_panel_reads_only_while_it_is_open(page: Page) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    choose(page, "product")
    expect(page.locator(".logs li")).to_have_count(3, timeout=LONG)
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    before = len(asked)
    frame = page.evaluate("document.getElementById('live-text').textContent")
    assert frame == "Live"
    choose(page, "order")
    expect(page.locator(".logs li")).to_have_count(1, timeout=LONG)
    later = [url for url in asked[before:] if "/api/" in url]
    assert later
    assert not any("name=product" in url for url in later)
