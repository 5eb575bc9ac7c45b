import re

import httpx
import pytest
from starlette.routing import Route

from services.storefront.domain import Problem, ShopError
from tests.unit.services.storefront.fakes import FakeShop, send
from tests.unit.services.storefront.test_forms import NO_QUANTITIES


async def test_the_front_page_shows_the_first_of_the_catalogue(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/")).text
    assert page.count('class="card"') == 12
    assert 'rel="next" href="/?page=2&amp;after=after-12"' in page
    assert 'rel="prev"' not in page


async def test_the_next_page_is_found_by_its_token_and_its_number_is_only_shown(
    browser: httpx.AsyncClient,
) -> None:
    first, second = (await browser.get("/")).text, (await browser.get("/?page=7&after=after-12")).text
    shown = [re.findall(r'data-product="(\d+)"', page) for page in (first, second)]
    assert len(shown[1]) == 12
    assert not set(shown[0]) & set(shown[1])
    assert "Page 7" in second


async def test_the_last_page_has_no_next(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/?page=3")).text
    assert 'rel="next"' not in page
    assert 'rel="prev"' in page


@pytest.mark.parametrize("quantity", NO_QUANTITIES)
@pytest.mark.parametrize("path", ["/cart/add", "/cart/set"])
async def test_a_quantity_that_is_none_is_refused_with_a_message_and_the_cart_stays(
    browser: httpx.AsyncClient, path: str, quantity: str
) -> None:
    if (path, quantity) == ("/cart/set", "0"):
        return  # takes the product out, as the page's own field offers
    await send(browser, "/cart/add", product_id="1", quantity="2")
    refused = await send(browser, path, product_id="1", quantity=quantity)
    assert refused.status_code == 422
    assert "a quantity is a whole number from 1 to 99" in refused.text
    assert browser.cookies["cart"] == "1x2"


async def test_a_quantity_with_spaces_around_it_is_read_and_one_without_a_field_is_refused(
    browser: httpx.AsyncClient,
) -> None:
    await send(browser, "/cart/add", product_id="1", quantity=" 2 ")
    assert browser.cookies["cart"] == "1x2"
    assert (await send(browser, "/cart/set", product_id="1")).status_code == 422
    await send(browser, "/cart/set", product_id="1", quantity="0")
    assert "cart" not in browser.cookies


async def test_more_of_a_product_than_a_cart_takes_is_refused_not_cut(browser: httpx.AsyncClient) -> None:
    await send(browser, "/cart/add", product_id="1", quantity="98")
    refused = await send(browser, "/cart/add", product_id="1", quantity="5")
    assert (refused.status_code, browser.cookies["cart"]) == (422, "1x98")
    assert "98 are in your cart" in refused.text


@pytest.mark.parametrize("product_id", ["", "0", "-1", "abc", "1.5", "2147483648", "9" * 5000, "٣"])
@pytest.mark.parametrize("path", ["/cart/add", "/cart/set"])
async def test_a_product_that_cannot_be_is_not_found(
    browser: httpx.AsyncClient, path: str, product_id: str
) -> None:
    assert (await send(browser, path, product_id=product_id, quantity="1")).status_code == 404


async def test_a_category_shows_its_own_and_keeps_itself_when_paging(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/?category=home")).text
    assert "Aurora Laptop" not in page
    assert 'href="/?category=home&amp;page=2&amp;after=after-12"' in page


async def test_an_empty_page_says_so(browser: httpx.AsyncClient) -> None:
    assert "This shelf is empty" in (await browser.get("/?page=99")).text


async def test_a_search_finds_by_text_and_price(browser: httpx.AsyncClient) -> None:
    assert "Quiet Headphones" in (await browser.get("/search?q=TRAINS&min=100")).text
    nothing = (await browser.get("/search?q=trains&max=1")).text
    assert "Nothing found" in nothing


async def test_what_was_searched_for_is_shown_as_text(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/search", params={"q": "<script>alert(1)</script>"})).text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


async def test_a_description_is_shown_as_text(browser: httpx.AsyncClient) -> None:
    assert "For &lt;b&gt;work&lt;/b&gt;" in (await browser.get("/products/1")).text


async def test_a_page_says_which_replica_answered_each_call(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/products/1")).text
    made = page[page.index("How this page was made") :]
    assert re.findall(r"<td>(product-\d)</td>\s*<td>product\.(\w+)</td>", made) == [
        ("product-2", "GetProduct"),
        ("product-2", "ListProducts"),
    ]
    assert "storefront-1" in made
    assert "127.0.1.2:50051" in made


@pytest.mark.parametrize(
    "path", ["/products/99", "/products/0", "/products/99999999999999", "/nowhere", "/orders/x"]
)
async def test_what_is_not_there_is_a_friendly_404(browser: httpx.AsyncClient, path: str) -> None:
    response = await browser.get(path)
    assert response.status_code == 404
    assert "Not on our shelves" in response.text


@pytest.mark.parametrize(
    ("problem", "status", "again"),
    [
        (Problem.UNAVAILABLE, 503, True),
        (Problem.BUSY, 429, True),
        (Problem.TIMEOUT, 504, True),
        (Problem.BROKEN, 502, True),
        (Problem.FORBIDDEN, 403, False),
        (Problem.INVALID, 400, False),
    ],
)
async def test_a_failed_call_is_a_page_with_a_way_on(
    shop: FakeShop, browser: httpx.AsyncClient, problem: Problem, status: int, again: bool
) -> None:
    shop.catalogue.fails = ShopError(problem, "details of ours", retry_after=2.2)
    response = await browser.get("/")
    assert response.status_code == status
    assert ("Try again</a>" in response.text) == again
    assert ("details of ours" in response.text) == (problem is Problem.INVALID)
    assert ("How this page was made") in response.text
    if status in (503, 429):
        assert response.headers["retry-after"] == "3"


async def test_a_product_that_is_left_and_then_gone_stays_in_the_cart_as_such(
    shop: FakeShop, browser: httpx.AsyncClient
) -> None:
    await send(browser, "/cart/add", product_id="1", quantity="2")
    await send(browser, "/cart/add", product_id="3")
    del shop.catalogue.products[3]
    page = (await browser.get("/cart")).text
    assert "$2,598.00" in page
    assert "No longer in the shop" in page
    assert 'href="/checkout"' not in page


async def test_more_than_there_is_cannot_be_checked_out(browser: httpx.AsyncClient) -> None:
    await send(browser, "/cart/add", product_id="3", quantity="4")
    assert "Only 3 left" in (await browser.get("/cart")).text


async def test_a_quantity_is_changed_and_a_line_removed(browser: httpx.AsyncClient) -> None:
    await send(browser, "/cart/add", product_id="1")
    await send(browser, "/cart/set", product_id="1", quantity="5")
    assert browser.cookies["cart"] == "1x5"
    await send(browser, "/cart/set", product_id="1", quantity="5", remove="1")
    assert "cart" not in browser.cookies
    assert "Your cart is empty" in (await browser.get("/cart")).text


async def test_a_notice_is_shown_once(browser: httpx.AsyncClient) -> None:
    await send(browser, "/cart/add", product_id="1")
    assert "Added to your cart" in (await browser.get("/cart")).text
    assert "Added to your cart" not in (await browser.get("/cart")).text


async def test_adding_leads_back_to_our_own_page_only(browser: httpx.AsyncClient) -> None:
    assert (await send(browser, "/cart/add", product_id="1", next="/?page=2")).headers[
        "location"
    ] == "/?page=2"
    assert (await send(browser, "/cart/add", product_id="1", next="//evil.test")).headers["location"] == "/"


async def test_no_form_is_accepted_without_its_token(shop: FakeShop, bob: httpx.AsyncClient) -> None:
    routes = [r for r in shop.app.routes if isinstance(r, Route) and r.methods and "POST" in r.methods]
    paths = [r.path.replace("{id:number}", "1") for r in routes if not r.path.startswith("/api/")]
    assert len(paths) >= 7
    for path in paths:
        for token in ({}, {"csrf": "x" * 43}, {"csrf": ""}):
            assert (await bob.post(path, data=token)).status_code == 403, path


@pytest.mark.parametrize(
    "headers", [{"origin": "https://evil.test"}, {"origin": "null"}, {"sec-fetch-site": "cross-site"}]
)
async def test_no_form_is_accepted_from_another_site(
    browser: httpx.AsyncClient, headers: dict[str, str]
) -> None:
    form = {"csrf": browser.cookies["csrf"], "product_id": "1"}
    assert (await browser.post("/cart/add", data=form, headers=headers)).status_code == 403
    assert (
        await browser.post("/cart/add", data=form, headers={"origin": "http://shop.test"})
    ).status_code == 303


async def test_a_form_that_is_too_long_or_no_form_is_refused(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/cart/add", content=b"x" * 40_000)).status_code == 413
    assert (await browser.post("/cart/add", content=b"\xff=\xff")).status_code == 400
    assert (await browser.post("/cart/add", content=b"&".join([b"a=1"] * 99))).status_code == 400


async def test_every_answer_carries_the_headers_that_keep_others_out(browser: httpx.AsyncClient) -> None:
    for path in ("/", "/nowhere", "/static/app.css", "/api/products", "/healthz"):
        headers = (await browser.get(path)).headers
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"


async def test_no_page_has_inline_script_or_style(bob: httpx.AsyncClient) -> None:
    await send(bob, "/cart/add", product_id="1")
    for path in ("/", "/search?q=a", "/products/1", "/cart", "/checkout", "/orders", "/login", "/register"):
        page = (await bob.get(path)).text
        assert not re.search(r"<script(?![^>]*src=)|<style|\sstyle=|\son\w+=|javascript:", page), path
        assert not re.search(r'(src|href)="(https?:)?//(?!traces\.test)', page), path


async def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(bob: httpx.AsyncClient) -> None:
    response = await send(bob, "/cart/add", product_id="1")
    for cookie in response.headers.get_list("set-cookie"):
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie
        assert "Path=/" in cookie


async def test_an_asset_is_kept_for_ever_under_its_digest(browser: httpx.AsyncClient) -> None:
    page = (await browser.get("/")).text
    found = re.search(r'href="(/static/app\.css\?v=\w+)"', page)
    assert found
    assert "immutable" in (await browser.get(found[1])).headers["cache-control"]
    assert (await browser.get("/static/app.css?v=old")).headers["cache-control"] == "no-cache"
    assert (await browser.get("/static/..%2Fapp.py")).status_code == 404


async def test_a_bug_is_one_log_entry_and_no_stack_on_the_page(
    shop: FakeShop, browser: httpx.AsyncClient
) -> None:
    shop.catalogue.fails = ZeroDivisionError("secret")  # type: ignore[assignment]
    response = await browser.get("/")
    assert response.status_code == 500
    assert "secret" not in response.text
    assert [type(line["error"]) for line in shop.log.lines if "error" in line] == [ZeroDivisionError]


async def test_the_log_has_the_path_but_never_the_query(shop: FakeShop, browser: httpx.AsyncClient) -> None:
    await browser.get("/search?q=private")
    assert shop.log.lines[-1]["path"] == "/search"
    assert "private" not in str(shop.log.lines)
