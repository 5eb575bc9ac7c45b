"""The console in a real browser, on the real shop: its numbers are those of the processes."""

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, expect
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.conftest import RunningCluster
from tests.e2e.test_checkout_in_a_browser import PATIENCE, browser

pytestmark = pytest.mark.browser
__all__ = ["browser"]
#: Milliseconds that the cluster may take for something, on a loaded machine.
LONG = 120_000.0


@pytest.fixture
def page(cluster: RunningCluster, browser: Browser) -> Iterator[Page]:
    complaints: list[str] = []
    context = browser.new_context(base_url=cluster.status()["console"])
    context.set_default_timeout(PATIENCE)
    page = context.new_page()
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda m: complaints.append(m.text) if "Content Security" in m.text else None)
    yield page
    context.close()
    assert complaints == []


def calls_of(cluster: RunningCluster, service: str, metric: str, grpc_service: str) -> int:
    """The sum of a counter over a service's replicas, read from their own pages."""
    total = 0.0
    for replica in cluster.status()["services"][service]["replicas"]:
        with urllib.request.urlopen(replica["metrics"], timeout=30) as page:
            families = text_string_to_metric_families(page.read().decode())
        total += sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == metric and sample.labels["grpc_service"] == grpc_service
        )
    return int(total)


def test_the_map_shows_the_mesh_and_its_numbers_are_those_of_the_processes(
    page: Page, cluster: RunningCluster
) -> None:
    with urllib.request.urlopen(f"{cluster.storefront}/", timeout=30) as shop:
        shop.read()  # the storefront calls product
    page.goto("/")
    for service, about in cluster.status()["services"].items():
        if about["replicas"]:
            node = page.locator(f".node[data-service={service}]")
            expect(node).to_be_visible(timeout=LONG)
            expect(node.locator(".replica")).to_have_count(len(about["replicas"]))
    row = page.locator('#calls tr[data-edge="storefront>product"] td')
    until_equal(
        row.nth(4),  # without the heading: to, rate, success, p99, calls
        lambda: calls_of(cluster, "storefront", "grpc_client_handled_total", "ecommerce.ProductService"),
    )
    until_equal(
        page.locator("#services tr[data-service=product] td").nth(4),
        lambda: calls_of(cluster, "product", "grpc_server_handled_total", "ecommerce.ProductService"),
    )


def until_equal(cell: Locator, read: Callable[[], int]) -> None:
    """Wait until a cell shows what the processes say, which is more than nothing."""
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        said, shown = read(), cell.text_content()
        if said > 0 and shown == f"{said:,}":
            return
        cell.page.wait_for_timeout(500)
    pytest.fail(f"the page says {cell.text_content()}, the processes {read()}")


def test_a_kill_is_told_and_a_choice_shows_its_figures(page: Page, cluster: RunningCluster) -> None:
    page.goto("/")
    page.locator(".node[data-service=chat]").press("Enter")
    expect(page.locator("#detail-title")).to_have_text("chat")
    expect(page.locator("#detail tr[data-replica=chat-1]")).to_contain_text("ready", timeout=LONG)
    cluster.meshmart("kill", "chat/1")
    expect(page.locator("#feed")).to_contain_text("chat-1 ended and was started again", timeout=LONG)
    expect(page.locator("#detail tr[data-replica=chat-1]")).to_contain_text("ready", timeout=LONG)
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()


def test_the_page_can_change_nothing(page: Page, cluster: RunningCluster) -> None:
    page.goto("/")
    expect(page.locator(".node").first).to_be_visible(timeout=LONG)
    assert page.locator("form, input, select, textarea").count() == 0
    console = cluster.status()["console"]
    request = urllib.request.Request(f"{console}/api/state", headers={"origin": cluster.storefront})
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=30)
    assert refused.value.code == 403
    refused.value.close()
    with urllib.request.urlopen(f"{console}/api/state", timeout=30) as answer:
        assert json.load(answer)["services"]
