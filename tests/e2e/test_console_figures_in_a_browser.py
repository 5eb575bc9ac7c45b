"""Status codes and certificates on the console's page: the processes' own numbers, in words."""

from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.e2e.test_checkout_in_a_browser import browser
from tests.e2e.test_console_in_a_browser import ADDRESSES, LONG, Mesh, opened
from tests.e2e.test_console_panel_in_a_browser import choose
from tests.integration.meshmart.test_console import Console

pytestmark = pytest.mark.browser
__all__ = ["browser"]
HOUR = 3600.0


class Figures(Mesh):
    """A mesh whose certificates are renewed eight hours before their end. Their times are far from a change
    of the words: a slow machine makes none of them another.
    """

    def made(self) -> Console:
        console = Console(renew_before=8 * HOUR)
        now, one, two = console.wall(), self.processes["product-1"], self.processes["product-2"]
        one.certificate("ab" * 20, now + 20.5 * HOUR, now - 3.5 * HOUR)
        two.certificate("cd" * 20, now + 4.5 * HOUR, now - 20.5 * HOUR)
        return console


@pytest.fixture
def mesh() -> Iterator[Mesh]:
    with Figures() as running:
        yield running


@pytest.fixture
def page(mesh: Mesh, browser: Browser) -> Iterator[Page]:
    with opened(mesh, browser) as page:
        yield page


def codes(page: Page) -> dict[str, str]:
    """The number of calls by code, as the panel shows it."""
    rows = page.locator("#detail .codes tbody tr")
    return {row.locator("th").inner_text(): row.locator("td").nth(2).inner_text() for row in rows.all()}


def fact(page: Page, name: str) -> Any:
    """The value of a fact of the panel."""
    return page.locator("#detail .small-facts > div").filter(has_text=name).locator("dd")


def test_the_panel_tells_the_codes_of_a_service_a_replica_and_an_edge(page: Page, mesh: Mesh) -> None:
    order, one, two = mesh.processes.values()
    one.serves("ProductService", 1200)
    one.serves("ProductService", 30, code="NotFound")
    two.serves("ProductService", 4, code="Internal")
    order.calls("product", "ProductService", 1230, endpoint=ADDRESSES[0])
    order.calls("product", "ProductService", 7, code="Unavailable", endpoint=ADDRESSES[1])
    shown = {
        "product": {"OK": "1,200", "NotFound": "30", "Internal": "4"},
        "product/product-1": {"OK": "1,200", "NotFound": "30"},
        "product/product-2": {"Internal": "4"},
        "order>product": {"OK": "1,230", "Unavailable": "7"},
    }
    for name, wanted in shown.items():
        choose(page, name)
        calls = sum(int(number.replace(",", "")) for number in wanted.values())
        expect(fact(page, "Calls in all")).to_contain_text(f"{calls:,}", timeout=LONG)
        expect(page.locator("#detail .codes tbody tr")).to_have_count(len(wanted), timeout=LONG)
        assert codes(page) == wanted


def test_a_choice_without_calls_has_no_codes(page: Page) -> None:
    choose(page, "product")
    expect(page.locator("#detail-title")).to_have_text("product", timeout=LONG)
    expect(page.locator("#detail .codes")).to_be_hidden()


def test_the_share_of_a_code_is_never_rounded_to_none_or_all(page: Page) -> None:
    shares = (
        "import('/static/codes.js').then((m) => [[1, 1e6], [999999, 1e6], [1, 4], [0, 9], [3, 3], [1, 0]]"
    )
    told = page.evaluate(f"() => {shares}.map(([part, whole]) => m.share(part, whole)))")
    assert told == ["<0.1 %", ">99.9 %", "25.0 %", "0.0 %", "100.0 %", "–"]


def test_the_panel_and_the_tables_tell_the_age_and_the_next_renewal_of_certificates(page: Page) -> None:
    # Without the heading of the row: from the seventh on.
    first = page.locator("#services tr[data-service=product] td")
    expect(first.nth(7)).to_have_text("20 h", timeout=LONG)
    expect(first.nth(8)).to_have_text("due for 3 h")
    expect(first.nth(9)).to_have_text("4 h")
    choose(page, "product")
    row = page.locator("#detail tr[data-replica=product-1] td")
    expect(row.nth(7)).to_have_text("abababab…", timeout=LONG)
    expect(row.nth(8)).to_have_text("3 h")
    expect(row.nth(9)).to_have_text("in 12 h")
    expect(row.nth(10)).to_have_text("20 h")
    expect(fact(page, "Certificate")).to_have_text("cdcdcdcd…, 20 h old, renewal due for 3 h, ends in 4 h")
    choose(page, "product/product-1")
    words = "abababab…, 3 h old, renewal in 12 h, ends in 20 h"
    expect(fact(page, "Certificate")).to_have_text(words, timeout=LONG)
    expect(page.locator("#facts > div").filter(has_text="Next certificate")).to_contain_text("due for 3 h")


def test_a_renewal_that_is_not_known_is_not_made_up(page: Page) -> None:
    certificate = "{serial: 'ab'.repeat(20), not_before: 1000, not_after: 90000}"
    told = page.evaluate(
        "() => import('/static/certificates.js').then((m) => "
        f"[m.words({certificate}, 11000), m.renewal({certificate}, 11000), m.renewal(undefined, 1)])"
    )
    assert told == ["abababab…, 2 h old, ends in 21 h", "not known", "–"]
