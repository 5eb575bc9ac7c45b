"""The map of small and large meshes in a real browser, drawn from frames without a clock."""

import asyncio
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self

import pytest
from playwright.sync_api import Browser, Page, expect

from bench.simulated import SHOP, chains
from grpcmesh.admin.access import Access
from grpcmesh.config import AdminConfig
from grpcmesh.http import HttpServer
from meshmart.console import frame
from meshmart.console.history import History
from meshmart.console.hub import Hub
from meshmart.console.model import EdgeView, ReplicaView, ServiceView, Snapshot, State, Traffic
from meshmart.console.web import console_app
from tests.e2e.test_checkout_in_a_browser import browser

pytestmark = pytest.mark.browser
__all__ = ["browser"]
#: Milliseconds that the page may take for something, on a loaded machine.
LONG = 120_000.0
LOCAL = AdminConfig(address="127.0.0.1:0")
Graph = Mapping[str, Sequence[str]]


def mesh(graph: Graph, replicas: int) -> Snapshot:
    """Return a mesh in which every service has so many replicas, all ready and with calls."""
    traffic = Traffic(rate=12.0, p99=0.048, calls=1000)
    services = tuple(
        ServiceView(name, tuple(_replica(name, n + 1, replicas) for n in range(replicas)), traffic)
        for name in graph
    )
    edges = tuple(EdgeView(a, b, traffic, callers=replicas) for a, targets in graph.items() for b in targets)
    return Snapshot(1_796_000_000.0, services, edges)


def _replica(service: str, number: int, of: int) -> ReplicaView:
    traffic = Traffic(rate=12.0 / of, p99=0.048, calls=1000 / of)
    return ReplicaView(
        number, f"{service}-{number}", "127.0.0.1", State.READY, traffic=traffic, share=1 / of, age=1.0
    )


def with_service(snapshot: Snapshot, name: str, **changes: Any) -> Snapshot:
    """Return a snapshot in which one service is different."""
    services = tuple(replace(s, **changes) if s.name == name else s for s in snapshot.services)
    return replace(snapshot, services=services)


class Site:
    """A console that shows the frames that it is given, in a thread of its own."""

    def __init__(self) -> None:
        self._hub, self._shown = Hub(), 0
        self._url: Future[str] = Future()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def __enter__(self) -> Self:
        self._thread.start()
        self.url = self._url.result(120)
        return self

    def __exit__(self, *error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(120)

    def show(self, page: Page, snapshot: Snapshot) -> None:
        """Show a mesh, and wait until the page has drawn it."""
        self._shown += 1
        about = {"links": {}, "interval": self._shown, "push": 0.7, "ranges": ()}
        self._loop.call_soon_threadsafe(self._hub.publish, frame.encode(snapshot, [], about))
        expect(page.locator("#foot")).to_contain_text(f"every {self._shown} s", timeout=LONG)

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        app = console_app(self._hub, History(), Access(LOCAL), self._stop)
        server = HttpServer(app, LOCAL.address, "console")
        await server.start()
        self._url.set_result(f"http://127.0.0.1:{server.port}")
        await self._stop.wait()
        await server.aclose()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    with Site() as running:
        yield running


@contextmanager
def opened(browser: Browser, site: Site, width: int = 1440) -> Iterator[Page]:
    """Open the console's page. An error on it fails the test."""
    errors: list[str] = []
    context = browser.new_context(viewport={"width": width, "height": 900}, reduced_motion="reduce")
    context.set_default_timeout(LONG)
    page = context.new_page()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(site.url, wait_until="domcontentloaded")
    # This console has neither switches nor lessons. What the page says about that comes later than the rest.
    for place in ("#said", "#experiments .notice"):
        expect(page.locator(place)).to_contain_text("could not be loaded", timeout=LONG)
    yield page
    context.close()
    assert errors == []


@pytest.fixture
def page(browser: Browser, site: Site) -> Iterator[Page]:
    with opened(browser, site) as page:
        yield page


#: The boxes that overlap, and the texts that are not inside the box of their service.
_MISPLACED = """() => {
  const rect = (e) => e.getBoundingClientRect(), found = [];
  const nodes = [...document.querySelectorAll("#map .node")];
  const boxes = nodes.map((n) => rect(n.querySelector(".box")));
  boxes.forEach((a, i) => boxes.forEach((b, j) => {
    if (i < j && a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom)
      found.push(`${nodes[i].dataset.service} and ${nodes[j].dataset.service}`);
  }));
  nodes.forEach((n, i) => n.querySelectorAll("text, .mark").forEach((e) => {
    const r = rect(e), b = boxes[i];
    if (r.width && (r.left < b.left || r.right > b.right || r.top < b.top - 1 || r.bottom > b.bottom + 1))
      found.push(`${n.dataset.service}: ${e.textContent}`);
  }));
  return found;
}"""
#: The curves and labels that reach beyond the map, which would cut them off.
_CUT_OFF = """() => [...document.querySelectorAll("#map .edge .line, #map .label")].filter((e) => {
  const a = e.getBoundingClientRect(), b = document.querySelector("#map").getBoundingClientRect();
  return a.width && (a.left < b.left || a.right > b.right || a.top < b.top || a.bottom > b.bottom);
}).map((e) => e.outerHTML)"""
LONG_NAME = "recommendations-and-personalisation-of-the-front-page-in-europe"
#: Also a service with the longest name that DNS allows, and one that calls itself.
ODD = {LONG_NAME: ("product", LONG_NAME), "product": ("product",)}


@pytest.mark.parametrize("width", [1440, 390])
@pytest.mark.parametrize(
    ("graph", "replicas"), [(SHOP, 3), (chains(60), 50), (ODD, 50)], ids=["9x3", "60x50", "odd"]
)
def test_every_service_is_on_the_map_and_can_be_read(
    browser: Browser, site: Site, graph: Graph, replicas: int, width: int
) -> None:
    with opened(browser, site, width) as page:
        site.show(page, mesh(graph, replicas))
        nodes = page.locator("#map .node")
        assert nodes.evaluate_all("all => all.map((n) => n.dataset.service)") == list(graph)
        assert page.locator("#map .edge").count() == sum(map(len, graph.values()))
        assert page.evaluate(_MISPLACED) == []
        assert page.evaluate(_CUT_OFF) == []
        heights = page.locator("#map .name").evaluate_all(
            "all => all.map(n => n.getBoundingClientRect().height)"
        )
        assert min(heights) >= 10
        words = page.locator("#map .name").all_text_contents()
        assert [name for name in graph if name != LONG_NAME] == [w for w in words if "…" not in w]


def test_the_page_does_not_grow_with_the_replicas_of_a_large_mesh(page: Page, site: Site) -> None:
    count = "() => document.querySelectorAll('*').length"
    site.show(page, mesh(chains(60), 20))
    elements = page.evaluate(count)
    site.show(page, mesh(chains(60), 50))
    assert page.evaluate(count) == elements
    site.show(page, with_service(mesh(chains(60), 50), "service-07", replicas=broken("service-07", 50)))
    # A few of those that are not ready have marks.
    assert page.locator("#map .replica").count() <= 6
    assert page.locator("#map .replica[data-state=broken]").count() > 0


def broken(service: str, count: int) -> tuple[ReplicaView, ...]:
    return tuple(replace(_replica(service, n + 1, count), state=State.BROKEN) for n in range(count))


#: Notes of which parts of the page anything changes. The page's own line on its connection follows the clock.
_WATCH = """() => {
  window.changed = new Set();
  const part = (e) => e.closest("[data-service]")?.dataset.service ?? e.closest("[data-edge], [id]").id;
  new MutationObserver((records) => {
    for (const { target } of records) {
      const element = target.nodeType === 1 ? target : target.parentElement;
      if (element !== document.body && !element.closest("#live")) window.changed.add(part(element));
    }
  }).observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
}"""


@pytest.mark.parametrize(("graph", "replicas"), [(SHOP, 3), (chains(60), 50)], ids=["9x3", "60x50"])
def test_an_update_changes_only_what_is_different(
    page: Page, site: Site, graph: Graph, replicas: int
) -> None:
    before, name = mesh(graph, replicas), list(graph)[3]
    site.show(page, before)
    page.evaluate(_WATCH)
    first, *others = next(s.replicas for s in before.services if s.name == name)
    site.show(page, with_service(before, name, replicas=(replace(first, state=State.EJECTED), *others)))
    # The figures above the map count the replicas that are ready; the foot has the number of the frame.
    assert set(page.evaluate("() => [...window.changed]")) == {name, "facts", "foot"}
    expect(page.locator(f"#map [data-service={name}] [data-state=ejected]")).to_have_count(1)


def test_the_keyboard_reaches_a_service_of_a_large_mesh_on_a_phone(browser: Browser, site: Site) -> None:
    with opened(browser, site, 390) as page:
        site.show(page, mesh(chains(60), 50))
        last = page.locator("#map .node").last
        expect(last).not_to_be_in_viewport()
        page.locator("#map .node").first.focus()
        for _ in range(59):
            page.keyboard.press("Tab")
        expect(last).to_be_focused()
        expect(last).to_be_in_viewport(ratio=1)
        page.keyboard.press("Enter")
        expect(page.locator("#detail-title")).to_have_text("service-59", timeout=LONG)
        # Only the map scrolls sideways, and it can be enlarged.
        assert page.evaluate("() => document.documentElement.scrollWidth") <= 390
        width = "() => document.querySelector('#map').getBoundingClientRect().width"
        before = page.evaluate(width)
        page.get_by_role("button", name="Larger").click()
        assert page.evaluate(width) > 1.2 * before
