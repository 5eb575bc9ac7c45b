"""Every page of the project by axe-core, light and dark, on a desk and on a phone, and by the keyboard."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.e2e.pages import PATIENCE, VARIANTS, Sight, Visitors, dress, sights
from tests.e2e.stage import Stage
from tests.e2e.test_checkout_in_a_browser import browser

pytestmark = pytest.mark.pages
__all__ = ["browser"]
#: The rules of WCAG 2.2 up to level AA, and axe's best practices.
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
_AXE = """([part, rules]) => axe.run(part, { runOnly: rules, resultTypes: ["violations"] }).then((told) =>
  told.violations.map((v) => `${v.impact}: ${v.id}: ${v.nodes.slice(0, 5).map((n) => n.target)}`))"""


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    with Stage() as running:
        yield running


@pytest.fixture(scope="module")
def visitors(stage: Stage, browser: Browser) -> Visitors:
    made = Visitors(browser, stage.status["storefront"], stage.status["console"])
    made.prepare()
    return made


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
_LEFT = """() => [...window.unreached]
  .filter((e) => e.isConnected && !e.disabled && e.checkVisibility({ visibilityProperty: true }))
  .map((e) => e.outerHTML.slice(0, 120))"""
#: The sights are shared out over so many tests, so that two processes can run them.
SHARES = 4


@pytest.mark.parametrize("share", range(SHARES))
def test_every_page_is_accessible_and_can_be_used_by_keyboard(
    stage: Stage, visitors: Visitors, share: int
) -> None:
    problems: list[str] = []
    for sight in sights(stage.status, visitors.order)[share::SHARES]:
        with visitors.at(sight) as page:
            found = [*by_axe(page, sight), *by_keyboard(page)]
            problems += [f"{sight.name}: {problem}" for problem in found]
    assert problems == []


def by_axe(page: Page, sight: Sight) -> Iterator[str]:
    """Check the whole page once, and the part that is its own in each scheme and size."""
    page.evaluate(Axe().axe_script)
    for number, (scheme, size) in enumerate(VARIANTS):
        dress(page, scheme, size)
        for violation in page.evaluate(_AXE, [sight.part if number else "html", RULES]):
            yield f"{scheme}, {size}: {violation}"


def by_keyboard(page: Page) -> Iterator[str]:
    """Press Tab until all was reached that can be operated. There may be more of it meanwhile."""
    page.evaluate("() => document.activeElement?.blur()")
    for _ in range(2 * int(page.evaluate(_MARK)) + 20):
        page.keyboard.press("Tab")
        if unmarked := page.evaluate(_REACHED):
            yield f"no focus ring: {unmarked}"
        if not page.evaluate(_LEFT):
            return
    yield from (f"not reached: {left}" for left in page.evaluate(_LEFT))


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
