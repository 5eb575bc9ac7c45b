"""Each lesson is done in a real browser on the real shop, and passes by what was measured."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from playwright.sync_api import Browser, Page, expect

from meshmart.lessons.model import lessons
from tests.e2e.conftest import TRIES, RunningCluster, up
from tests.e2e.test_checkout_in_a_browser import browser
from tests.ports import free_port

pytestmark = pytest.mark.lessons
__all__ = ["browser"]
#: Milliseconds that the page, and an experiment, may take on a loaded machine.
LONG, EXPERIMENT = 120_000.0, 600_000.0
LOG_IN = """async () => (await fetch("/api/login", {
  method: "POST", headers: {"content-type": "application/json"},
  body: JSON.stringify({name: "alice", password: "alice-password"}),
})).status"""


@contextmanager
def admin(browser: Browser, address: str) -> Iterator[Page]:
    """A page of the console where an admin has logged in."""
    complaints: list[str] = []
    # Without motion the page leaves the CPU to what is measured.
    with closing(browser.new_context(base_url=address, reduced_motion="reduce")) as context:
        context.set_default_timeout(LONG)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto("/")
        assert page.evaluate(LOG_IN) == 200
        page.reload()
        yield page
    assert complaints == []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """The shop with three replicas of product, so that no lesson has to start the third."""
    with up(
        RunningCluster(tmp_path_factory.mktemp("lessons") / "state"), "--replicas", "product=3"
    ) as running:
        yield running


@pytest.fixture(scope="module")
def page(cluster: RunningCluster, browser: Browser) -> Iterator[Page]:
    with admin(browser, cluster.status()["console"]) as page:
        yield page


def predict(page: Page) -> None:
    """Choose the first answer, by keyboard."""
    first = page.get_by_role("radio").first
    first.focus()
    page.keyboard.press("Space")
    expect(first).to_be_checked()


def verdict(page: Page, name: str) -> str:
    """Do a lesson, again if it was not measured, and return its verdict."""
    page.goto(f"/#lesson/{name}")
    expect(page.locator("#lesson-title")).to_have_text(lessons()[name].title, timeout=LONG)
    start = page.get_by_role("button", name="Break it and measure")
    for _ in range(TRIES):
        expect(start).to_be_disabled()  # the question comes first
        predict(page)
        expect(start).to_be_enabled(timeout=LONG)
        start.click()
        said = page.locator("#lesson .verdict")
        expect(said).to_be_visible(timeout=EXPERIMENT)
        told = said.inner_text()
        if "not measured" not in told:
            return told
        page.get_by_role("button", name="Predict again").click()
    return told


@pytest.mark.parametrize("name", list(lessons()))
def test_a_lesson_passes_by_measurement(page: Page, name: str) -> None:
    told = verdict(page, name)
    assert told == "The lesson passed.", page.locator("#lesson").inner_text()
    explained = page.locator("#lesson .explained")
    assert "no figure" not in explained.inner_text()
    expect(explained.locator("tbody tr").nth(2)).to_be_visible()
    expect(explained.locator("[data-passed=false]")).to_have_count(0)
    # The measurement confirms one answer, and the page marks it.
    expect(page.locator("#lesson .choice.right")).to_have_count(1)
    assert page.locator("#lesson .answer").inner_text().startswith(("You were right", "You said"))
    for look in lessons()[name].look:
        what = "edge" if ">" in look.at else "service"
        expect(page.locator(f'#map [data-{what}="{look.at}"].look')).to_have_count(1)


def test_the_last_verdict_of_a_scene_stays_on_the_page(page: Page) -> None:
    page.goto("/#lesson/kill")
    expect(page.locator("#scenes tr[data-scene=kill]")).to_contain_text("by alice", timeout=LONG)


def test_a_lesson_fails_without_the_feature_that_it_shows(cluster: RunningCluster, browser: Browser) -> None:
    port = free_port()
    command = [sys.executable, "-m", "meshmart.console", "--http", f"127.0.0.1:{port}"]
    environ = cluster.environment_of_commands | {"MESH_RETRY_BUDGET_FLOOR": "100000"}
    with subprocess.Popen([*command, "--state-dir", str(cluster.state_dir)], env=environ) as console:
        try:
            with admin(browser, _up(f"http://127.0.0.1:{port}", console)) as page:
                assert verdict(page, "retry-storm") == "The lesson failed."
                missed = page.locator("#lesson .explained [data-passed=false]")
                expect(missed.first).to_contain_text("extra load")
        finally:
            console.terminate()


def _up(address: str, console: "subprocess.Popen[bytes]") -> str:
    """Wait until a console answers, and return its address."""
    import httpx

    until = time.monotonic() + LONG / 1000
    while time.monotonic() < until:
        assert console.poll() is None
        try:
            if httpx.get(f"{address}/api/state", timeout=5).status_code == 200:
                return address
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail("the console did not start")
