"""Every page of the project by axe-core, light and dark, on a desk and on a phone."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect

from tests.e2e.pages import PATIENCE, VARIANTS, Visitors, dress, sights
from tests.e2e.stage import Stage
from tests.e2e.test_checkout_in_a_browser import browser

pytestmark = pytest.mark.pages
__all__ = ["browser"]
#: The rules of WCAG 2.2 up to level AA, and axe's best practices.
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


@pytest.fixture(scope="module")
def visitors(stage: Stage, browser: Browser) -> Visitors:
    made = Visitors(browser, stage.status["storefront"])
    made.prepare()
    return made


def test_axe_finds_nothing_on_any_page(stage: Stage, visitors: Visitors) -> None:
    found: list[str] = []
    for sight in sights(stage.status, visitors.order):
        with visitors.at(sight) as page:
            for scheme, size in VARIANTS:
                dress(page, scheme, size)
                for violation in Axe().run(page, options=RULES).response["violations"]:
                    parts = " ".join(str(node["target"]) for node in violation["nodes"][:5])
                    what = f"{violation['impact']}: {violation['id']}: {parts}"
                    found.append(f"{sight.name}, {scheme}, {size}: {what}")
    assert found == []


#: Every element that the Tab key should reach, marked with a number; those that it has reached lose it.
_MARK = """() => {
  const wanted = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex]';
  const all = [...document.querySelectorAll(wanted)].filter((e) =>
    e.tabIndex >= 0 && !e.disabled && e.checkVisibility({ visibilityProperty: true }));
  // One of a group of radio buttons has the focus; the arrows reach the others.
  window.unreached = new Set(all.filter((e) => e.type !== 'radio' || e.checked));
  return window.unreached.size;
}"""
_REACHED = """() => {
  const e = document.activeElement;
  window.unreached.delete(e);
  if (!e || e === document.body) return null;
  const style = getComputedStyle(e), box = e.querySelector(':scope > .box');
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  const thick = box && parseFloat(getComputedStyle(box).strokeWidth) >= 3;
  return ring || thick ? '' : e.outerHTML.slice(0, 120);
}"""
_LEFT = "() => [...window.unreached].filter((e) => e.isConnected).map((e) => e.outerHTML.slice(0, 120))"


def test_tab_reaches_all_that_can_be_operated_and_shows_where_it_is(stage: Stage, visitors: Visitors) -> None:
    problems: list[str] = []
    for sight in sights(stage.status, visitors.order):
        with visitors.at(sight) as page:
            page.evaluate("() => document.activeElement?.blur()")
            for _ in range(int(page.evaluate(_MARK)) + 5):
                page.keyboard.press("Tab")
                if unmarked := page.evaluate(_REACHED):
                    problems.append(f"{sight.name}: no focus ring: {unmarked}")
            problems += [f"{sight.name}: not reached: {left}" for left in page.evaluate(_LEFT)]
    assert problems == []


@pytest.mark.parametrize(
    ("opener", "title"),
    [
        (".node[data-service=product]", "product"),
        ("#services tr[data-service=order] button", "order"),
        ('#calls tr[data-edge="order>product"] button', "order → product"),
    ],
)
def test_the_panel_opens_by_enter_and_escape_gives_the_focus_back(
    stage: Stage, visitors: Visitors, opener: str, title: str
) -> None:
    with visitors.context("anybody") as context:
        page = context.new_page()
        page.goto(stage.status["console"], wait_until="domcontentloaded")
        expect(page.locator(".edge.busy").first).to_be_attached(timeout=PATIENCE)
        page.locator(opener).focus()
        page.keyboard.press("Enter")
        expect(page.locator("#detail-title")).to_have_text(title, timeout=PATIENCE)
        expect(page.locator("#detail-title")).to_be_focused()
        page.keyboard.press("Escape")
        expect(page.locator("#detail")).to_be_hidden()
        expect(page.locator(opener)).to_be_focused()


def test_nothing_moves_for_those_who_prefer_that(stage: Stage, visitors: Visitors) -> None:
    with visitors.context("anybody") as context:
        page = context.new_page()
        page.goto(stage.status["console"], wait_until="domcontentloaded")
        expect(page.locator(".edge.busy").first).to_be_attached(timeout=PATIENCE)
        assert page.evaluate("() => document.getAnimations().length") == 0


def test_a_reader_of_the_admin_page_may_stop_it(stage: Stage, visitors: Visitors) -> None:
    with visitors.context("anybody") as context:
        page = context.new_page()
        page.goto(stage.status["services"]["order"]["replicas"][0]["metrics"].removesuffix("metrics"))
        page.evaluate("() => { document.querySelector('#state').old = true }")
        page.wait_for_function("() => !document.querySelector('#state').old", timeout=PATIENCE)
        page.get_by_role("button", name="Pause").click()
        expect(page.get_by_role("button", name="Pause")).to_have_attribute("aria-pressed", "true")
