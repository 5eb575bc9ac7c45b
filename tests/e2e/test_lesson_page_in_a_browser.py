"""The page of the lessons and scenes in a real browser; a stub stands in for the command that plays them."""

import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from starlette.routing import Route

from grpcmesh.clock import monotonic
from meshmart.console.action_log import ActionLog
from meshmart.console.admins import Admins
from meshmart.console.experiments.program import Program
from meshmart.console.experiments.routes import routes
from meshmart.console.experiments.runner import Runner
from meshmart.console.login import login_routes
from meshmart.console.origins import Origins
from meshmart.console.records import Records
from meshmart.tour.check import Check, Outcome
from tests.e2e.test_checkout_in_a_browser import browser
from tests.e2e.test_console_in_a_browser import LONG, Mesh, blank
from tests.unit.meshmart.console.test_admins import PASSWORD, FakeAccounts
from tests.unit.meshmart.console.test_experiment_runner import STUB

pytestmark = pytest.mark.browser
__all__ = ["browser"]
LOG_IN = """async (password) => (await fetch("/api/login", {
  method: "POST", headers: {"content-type": "application/json"},
  body: JSON.stringify({name: "alice", password}),
})).status"""
START = """async () => (await fetch("/api/experiments/start", {
  method: "POST", headers: {"content-type": "application/json"}, body: JSON.stringify({name: "kill"}),
})).status"""


def kill(failed: int) -> tuple[str, str]:
    """A verb whose outcome is the one of the scene `kill` with so many failed reads."""
    outcome = Outcome(
        "kill",
        (
            Check("failed reads of 900", failed, 0, relation="==", details=("<b>UNAVAILABLE</b>",)),
            Check("calls retried on another replica", 4, 1, relation=">="),
            Check("until no call is disturbed any more", 0.05, 1.0, " s"),
        ),
    )
    return "play", json.dumps(outcome.as_dict())


class Lessons(Mesh):
    """A mesh whose console plays the stub."""

    def __init__(self, state: Path) -> None:
        super().__init__()
        self._state = state
        self.verbs: dict[str, Sequence[str]] = {"kill": kill(0), "balance": ("hang",)}

    def routes(self) -> Sequence[Route]:
        poller = self.console.poller
        records = Records(ActionLog(self._state), poller.tell, time.time)
        start: Any = partial(Program.start, program=STUB)
        self._runner = Runner(self.verbs, os.environ, time.time, monotonic, records, start)
        poller.more = lambda: {"experiments": self._runner.version}
        admins = Admins(FakeAccounts(), Origins(""))
        return [*login_routes(admins, records), *records.routes(), *routes(self._runner, admins, {})]

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[None]:
        """End what a test leaves running."""
        yield
        await self._runner.aclose()


@pytest.fixture
def mesh(tmp_path: Path) -> Iterator[Lessons]:
    with Lessons(tmp_path) as running:
        yield running


@pytest.fixture
def page(mesh: Lessons, browser: Browser) -> Iterator[Page]:
    with blank(mesh, browser) as page:
        yield page


def opened(page: Page, address: str) -> None:
    """Open the page as an admin."""
    page.goto("/")
    assert page.evaluate(LOG_IN, PASSWORD) == 200
    page.goto(address)
    page.reload()


def test_a_lesson_is_done_by_keyboard_and_passes_by_its_figures(page: Page) -> None:
    opened(page, "/#lesson/kill")
    expect(page.locator("#lesson-title")).to_have_text("A replica is killed", timeout=LONG)
    expect(page.locator("#lesson-title")).to_be_focused(timeout=LONG)
    start = page.get_by_role("button", name="Break it and measure")
    expect(start).to_be_disabled()
    first = page.get_by_role("radio").first
    first.focus()
    page.keyboard.press("Space")
    expect(start).to_be_enabled(timeout=LONG)
    expect(page.locator("#map .node.look[data-service=product]")).to_have_count(1, timeout=LONG)
    start.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#lesson .verdict")).to_have_text("The lesson passed.", timeout=LONG)
    expect(page.locator("#lesson .answer")).to_have_text("You were right: None.")
    expect(page.locator("#lesson .lines")).to_contain_text("breaking it")
    expect(page.locator("#lesson .explained")).to_contain_text("Calls were disturbed for 0.050 s.")
    expect(page.locator("#lesson .explained")).to_contain_text("meshmart tour kill")
    expect(page.locator("#scenes tr[data-scene=kill]")).to_contain_text("passed")
    expect(page.locator("#scenes tr[data-scene=kill]")).to_contain_text("by alice")


def test_a_reload_keeps_the_answer_and_the_explanation(page: Page) -> None:
    opened(page, "/#lesson/kill")
    page.get_by_role("radio").first.check()
    page.reload()
    expect(page.get_by_role("radio").first).to_be_checked(timeout=LONG)
    page.get_by_role("button", name="Break it and measure").click()
    expect(page.locator("#lesson .verdict")).to_have_text("The lesson passed.", timeout=LONG)
    page.reload()
    expect(page.locator("#lesson .answer")).to_have_text("You were right: None.", timeout=LONG)
    expect(page.get_by_role("radio").first).to_be_disabled()
    page.get_by_role("button", name="Predict again").click()
    page.reload()
    expect(page.get_by_role("radio").first).to_be_enabled(timeout=LONG)
    expect(page.get_by_role("radio").first).not_to_be_checked()


def test_the_map_stays_in_sight_beside_an_open_lesson(page: Page) -> None:
    page.set_viewport_size({"width": 1280, "height": 900})
    opened(page, "/#lesson/kill")
    place = page.locator("#map .node.look[data-service=product]")
    expect(place).to_be_in_viewport(ratio=1, timeout=LONG)
    expect(page.locator("#lesson-title")).to_be_in_viewport(ratio=1)
    page.get_by_role("radio").first.check()
    page.get_by_role("button", name="Break it and measure").click()
    expect(page.locator("#lesson .verdict")).to_be_in_viewport(ratio=1, timeout=LONG)
    expect(place).to_be_in_viewport(ratio=1)
    page.get_by_role("button", name="Predict again").scroll_into_view_if_needed()
    expect(place).to_be_in_viewport(ratio=1)


def test_it_fails_if_a_figure_misses_its_bound(page: Page, mesh: Lessons) -> None:
    mesh.verbs["kill"] = kill(7)
    opened(page, "/#lesson/kill")
    page.get_by_role("radio").first.check()
    page.get_by_role("button", name="Break it and measure").click()
    expect(page.locator("#lesson .verdict")).to_have_text("The lesson failed.", timeout=LONG)
    expect(page.locator("#lesson .answer")).to_contain_text("The measurement says: A few")
    expect(page.locator("#lesson [data-passed=false] th")).to_have_text("failed reads of 900")


def test_a_scene_is_played_and_stopped(page: Page) -> None:
    opened(page, "/")
    page.get_by_role("button", name="Play balance").click()
    run = page.locator("#scene-run")
    expect(run).to_contain_text("balance is being played, started by alice", timeout=LONG)
    expect(run.locator(".lines")).to_contain_text("broken", timeout=LONG)
    expect(page.get_by_role("button", name="Play kill")).to_be_disabled()
    run.get_by_role("button", name="Stop").click()
    expect(page.locator("#scenes tr[data-scene=balance]")).to_contain_text("stopped", timeout=LONG)


def test_who_is_no_admin_can_watch_but_not_start(page: Page, mesh: Lessons) -> None:
    page.goto("/#lesson/kill")
    page.get_by_role("radio").first.check()
    expect(page.locator("#lesson")).to_contain_text("Only an admin can start it", timeout=LONG)
    expect(page.get_by_role("button", name="Break it and measure")).to_be_disabled()
    assert page.evaluate(START) == 401
