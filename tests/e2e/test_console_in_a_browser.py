"""The console's page in a real browser: its numbers are those of the processes that it reads."""

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from typing import Self

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.routing import Route

from grpcmesh.admin import AdminServer
from grpcmesh.admin.access import Access
from grpcmesh.admin.server import Settings
from grpcmesh.config import AdminConfig
from grpcmesh.http import HttpServer
from meshmart.console.web import console_app
from tests.e2e.test_checkout_in_a_browser import browser
from tests.integration.meshmart.test_console import Console
from tests.unit.meshmart.console.pages import Process

pytestmark = pytest.mark.browser
__all__ = ["browser"]
#: Milliseconds that the page may take for something, on a loaded machine.
LONG = 120_000.0
ADDRESSES = ("127.0.2.1:50051", "127.0.2.2:50051")


class Mesh:
    """Two products and an order service behind real admin ports, and a console, in a thread of its own."""

    def __init__(self) -> None:
        self.processes = {name: Process() for name in ("order-1", "product-1", "product-2")}
        for name in ("product-1", "product-2"):
            self.processes[name].serves("ProductService", 0)
        self.processes["order-1"].knows("product", *ADDRESSES)
        self.url: Future[str] = Future()
        self._stop: Future[asyncio.Event] = Future()
        self.console = self.made()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def made(self) -> Console:
        return Console()

    def __enter__(self) -> Self:
        self._thread.start()
        self.url.result(120)
        return self

    def __exit__(self, *error: object) -> None:
        stop = self._stop.result(120)
        self._loop.call_soon_threadsafe(stop.set)
        self._thread.join(120)

    def routes(self) -> Sequence[Route]:
        """Return further routes of the console."""
        return ()

    def settings(self, name: str) -> Settings | None:
        """Return what a process says of its settings."""
        return None

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """Run what is beside the mesh."""
        yield

    async def _run(self) -> None:
        self._loop, stop = asyncio.get_running_loop(), asyncio.Event()
        local = AdminConfig(address="127.0.0.1:0")
        hub, history = self.console.poller.hub, self.console.poller.history
        app = console_app(hub, history, Access(local), stop, self.routes())
        page = HttpServer(app, local.address, "console")
        ports = [
            AdminServer(local, process.registry, dict, self.settings(name))
            for name, process in self.processes.items()
        ]
        for name, port in zip(self.processes, ports, strict=True):
            await port.start()
            self.console.add(name.partition("-")[0], port.port)
        await page.start()
        async with self.beside(), self.console.running():
            self._stop.set_result(stop)
            self.url.set_result(f"http://127.0.0.1:{page.port}")
            await stop.wait()
        for server in (page, *ports):
            await server.aclose()


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    with Mesh() as running:
        yield running


@pytest.fixture
def page(mesh: Mesh, browser: Browser) -> Iterator[Page]:
    with opened(mesh, browser) as page:
        yield page


@contextmanager
def opened(mesh: Mesh, browser: Browser) -> Iterator[Page]:
    """Open the console's page. An error on it fails the test."""
    with blank(mesh, browser) as page:
        page.goto("/")
        yield page


@contextmanager
def blank(mesh: Mesh, browser: Browser) -> Iterator[Page]:
    """Open a page for the console. An error on it fails the test."""
    complaints: list[str] = []
    context = browser.new_context(base_url=mesh.url.result())
    context.set_default_timeout(LONG)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if "Content Security" in m.text else None)
    yield page
    context.close()
    assert complaints == []


def total(process: Process, name: str) -> int:
    """The sum over a counter's labels, read from the process itself."""
    return int(sum(s.value for f in process.registry.collect() for s in f.samples if s.name == name))


def test_the_map_and_the_tables_show_the_numbers_of_the_processes(page: Page, mesh: Mesh) -> None:
    order, one, two = mesh.processes.values()
    one.serves("ProductService", 1200)
    two.serves("ProductService", 34, code="Internal")
    order.calls("product", "ProductService", 1233, endpoint=ADDRESSES[0])
    order.calls("product", "ProductService", 1, code="Unavailable", endpoint=ADDRESSES[1])
    served = total(one, "grpc_server_handled_total") + total(two, "grpc_server_handled_total")
    expect(page.locator('.edge[data-edge="order>product"]')).to_have_count(1, timeout=LONG)
    # Without the heading of the row: replicas, rate, success, p99, calls.
    product = page.locator("#services tr[data-service=product] td")
    expect(product.nth(4)).to_have_text(f"{served:,}", timeout=LONG)
    calls = page.locator('#calls tr[data-edge="order>product"] td')
    expect(calls.nth(4)).to_have_text(f"{total(order, 'grpc_client_handled_total'):,}", timeout=LONG)
    expect(calls.nth(5)).to_have_text("1", timeout=LONG)
    expect(page.locator(".node[data-service=product] .replica")).to_have_count(2)


def test_an_ejected_replica_is_marked_and_told(page: Page, mesh: Mesh) -> None:
    node = page.locator(".node[data-service=product]")
    expect(node).to_be_visible(timeout=LONG)
    order = mesh.processes["order-1"]
    order.gauge("mesh_outlier_endpoint_ejected", 1, target="product", endpoint=ADDRESSES[1])
    expect(node.locator("[data-replica=product-2]")).to_have_attribute("data-state", "ejected", timeout=LONG)
    expect(node.locator("[data-replica=product-1]")).to_have_attribute("data-state", "ready")
    expect(page.locator("#feed")).to_contain_text("product-2 is ejected by 1 of 1 callers", timeout=LONG)


def test_a_choice_by_keyboard_shows_its_figures(page: Page, mesh: Mesh) -> None:
    node = page.locator(".node[data-service=product]")
    expect(node).to_have_attribute("aria-label", "product: 2 ready; no calls", timeout=LONG)
    node.press("Enter")
    expect(page.locator("#detail-title")).to_have_text("product")
    expect(page.locator("#detail tr[data-replica=product-2]")).to_contain_text("ready", timeout=LONG)
    expect(page).to_have_url(f"{mesh.url.result()}/#product")
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()


def test_an_address_that_is_badly_encoded_chooses_nothing(mesh: Mesh, browser: Browser) -> None:
    with blank(mesh, browser) as page:
        page.goto("/#100%")
        expect(page.locator(".node").first).to_be_visible(timeout=LONG)
        expect(page.locator("#detail")).to_be_hidden()


def test_a_page_whose_session_has_ended_loads_again_for_the_log_in(mesh: Mesh, browser: Browser) -> None:
    with blank(mesh, browser) as page:
        page.route("**/events", lambda route: route.fulfill(status=401))
        page.goto("/")
        page.wait_for_event("load", timeout=LONG)


def test_a_console_without_switches_shows_none(page: Page) -> None:
    expect(page.locator(".node").first).to_be_visible(timeout=LONG)
    expect(page.locator("#said")).to_contain_text("could not be loaded", timeout=LONG)
    shown = page.locator("form, input, select, textarea")
    assert not any(shown.nth(n).is_visible() for n in range(shown.count()))


def test_an_empty_map_says_why(browser: Browser) -> None:
    mesh = Mesh()
    mesh.console.broken = "the supervisor does not answer"
    with mesh, opened(mesh, browser) as page:
        expect(page.locator("#problem")).to_contain_text(mesh.console.broken, timeout=LONG)
        expect(page.locator("#waiting")).to_contain_text("Nothing is known of the mesh yet")
        mesh.console.broken = ""
        expect(page.locator(".node").first).to_be_visible(timeout=LONG)
        expect(page.locator("#waiting")).to_be_hidden()
