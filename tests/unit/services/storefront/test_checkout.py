import re
from dataclasses import replace

import httpx
import pytest

from services.storefront.domain import Problem, ShopError
from tests.unit.services.storefront.fakes import ADDRESS, BOB, CARD, FakeShop, jwt, send


async def form_key(client: httpx.AsyncClient) -> str:
    """The key in a freshly drawn checkout form."""
    return key_in((await client.get("/checkout")).text)


def key_in(page: str) -> str:
    found = re.search(r'name="key" value="([^"]+)"', page)
    assert found
    return found[1]


def total_in(page: str) -> str:
    found = re.search(r'name="total" value="([^"]*)"', page)
    assert found
    return found[1]


@pytest.fixture
async def ready(bob: httpx.AsyncClient) -> httpx.AsyncClient:
    """Bob with something in the cart."""
    await send(bob, "/cart/add", product_id="2", quantity="2")
    return bob


async def test_an_order_is_placed_and_its_page_shown(shop: FakeShop, ready: httpx.AsyncClient) -> None:
    response = await send(ready, "/checkout", key=await form_key(ready), **ADDRESS, **CARD)
    assert response.status_code == 303
    assert response.headers["location"] == "/orders/1"
    assert shop.orders.orders[1].total_cents == 49_800
    assert shop.orders.orders[1].address.city == "Springfield"
    assert "cart" not in ready.cookies
    page = (await ready.get("/orders/1")).text
    assert "Thank you!" in page
    assert "Confirmed" in page


async def test_a_double_click_orders_once(shop: FakeShop, ready: httpx.AsyncClient) -> None:
    form = {"csrf": ready.cookies["csrf"], "key": await form_key(ready), **ADDRESS, **CARD}
    cart = {"cart": ready.cookies["cart"]}
    first = await ready.post("/checkout", data=form)
    async with shop.client(cookies={"session": BOB, "csrf": form["csrf"], **cart}) as other_click:
        second = await other_click.post("/checkout", data=form)
    assert first.headers["location"] == second.headers["location"] == "/orders/1"
    assert len(shop.orders.orders) == 1


async def test_an_old_form_with_another_cart_is_another_order(
    shop: FakeShop, ready: httpx.AsyncClient
) -> None:
    key = await form_key(ready)
    await send(ready, "/checkout", key=key, **ADDRESS, **CARD)
    await send(ready, "/cart/add", product_id="1")
    await send(ready, "/checkout", key=key, **ADDRESS, **CARD)
    assert [o.lines[0].product_id for o in shop.orders.orders.values()] == [2, 1]


async def test_the_wallet_on_file_pays_without_a_card(shop: FakeShop, ready: httpx.AsyncClient) -> None:
    await send(ready, "/checkout", key=await form_key(ready), **ADDRESS, **{**CARD, "pay": "wallet"})
    assert shop.orders.cards == [None]


@pytest.mark.parametrize(
    ("problem", "status"), [(Problem.UNAVAILABLE, 503), (Problem.TIMEOUT, 504), (Problem.BUSY, 429)]
)
async def test_when_the_outcome_is_unknown_the_form_keeps_its_key(
    shop: FakeShop, ready: httpx.AsyncClient, problem: Problem, status: int
) -> None:
    key = await form_key(ready)
    shop.orders.fails = ShopError(problem)
    response = await send(ready, "/checkout", key=key, **ADDRESS, **CARD)
    assert response.status_code == status
    assert key_in(response.text) == key
    assert "will not be placed or charged twice" in response.text
    assert ready.cookies["cart"] == "2x2"


async def test_a_form_that_was_changed_after_it_was_sent_shows_what_came_of_it_and_orders_nothing(
    shop: FakeShop, ready: httpx.AsyncClient
) -> None:
    shop.orders.fails = ShopError(Problem.RULE, "used for another order", reason="KEY_REUSED")
    response = await send(ready, "/checkout", key=await form_key(ready), **ADDRESS, **CARD)
    assert (response.status_code, response.headers["location"]) == (303, "/orders")
    shop.orders.fails = None
    assert "This order was sent before" in (await ready.get("/orders")).text
    assert ready.cookies["cart"] == "2x2"


async def test_a_declined_card_gets_a_new_key_and_keeps_the_address(
    shop: FakeShop, ready: httpx.AsyncClient
) -> None:
    key = await form_key(ready)
    shop.orders.fails = ShopError(Problem.RULE, "card declined", reason="PAYMENT_DECLINED")
    response = await send(ready, "/checkout", key=key, **ADDRESS, **CARD)
    assert response.status_code == 422
    assert "card declined" in response.text
    assert key_in(response.text) != key
    assert 'value="Springfield"' in response.text


async def test_a_buyer_pays_what_the_page_showed(shop: FakeShop, ready: httpx.AsyncClient) -> None:
    page = (await ready.get("/checkout")).text
    form = {"key": key_in(page), "total": total_in(page), **ADDRESS, **CARD}
    assert form["total"] == "49800"
    await send(ready, "/checkout", **form)
    assert shop.orders.expected == [49_800]


async def test_a_price_that_changed_is_shown_and_the_buyer_confirms_again(
    shop: FakeShop, ready: httpx.AsyncClient
) -> None:
    page = (await ready.get("/checkout")).text
    form = {"key": key_in(page), "total": total_in(page), **ADDRESS, **CARD}
    shop.catalogue.products[2] = replace(shop.catalogue.products[2], price_cents=25_000)
    refused = await send(ready, "/checkout", **form)
    assert refused.status_code == 409
    assert "the total is now $500.00 instead of $498.00" in refused.text
    assert 'value="Springfield"' in refused.text
    assert shop.orders.orders == {}
    form |= {"key": key_in(refused.text), "total": total_in(refused.text)}
    assert form["total"] == "50000"
    assert (await send(ready, "/checkout", **form)).headers["location"] == "/orders/1"
    assert shop.orders.orders[1].total_cents == 50_000


async def test_an_undecided_form_is_sent_again_as_it_was(shop: FakeShop, ready: httpx.AsyncClient) -> None:
    page = (await ready.get("/checkout")).text
    form = {"key": key_in(page), "total": total_in(page), **ADDRESS, **CARD}
    shop.orders.fails = ShopError(Problem.TIMEOUT)
    shop.catalogue.products[2] = replace(shop.catalogue.products[2], price_cents=25_000)
    undecided = (await send(ready, "/checkout", **form)).text
    assert (key_in(undecided), total_in(undecided)) == (form["key"], "49800")


@pytest.mark.parametrize("total", ["", "abc", "-1", "1.5", "1e3", "9" * 5000])
async def test_a_total_that_is_none_is_asked_for_again(
    shop: FakeShop, ready: httpx.AsyncClient, total: str
) -> None:
    refused = await send(ready, "/checkout", key=await form_key(ready), total=total, **ADDRESS, **CARD)
    assert refused.status_code == 422
    assert total_in(refused.text) == "49800"
    assert shop.orders.orders == {}


async def test_what_the_service_finds_wrong_stands_at_the_fields(
    shop: FakeShop, ready: httpx.AsyncClient
) -> None:
    shop.orders.fails = ShopError(
        Problem.INVALID,
        fields={
            "shipping_address.city": "must not be empty",
            "payment.credit_card.number": "is not a card number",
        },
    )
    page = (await send(ready, "/checkout", key=await form_key(ready), **CARD)).text
    assert "City must not be empty" in page
    assert "Card number is not a card number" in page
    assert 'aria-describedby="city-wrong"' in page


async def test_a_card_is_never_echoed_nor_logged(shop: FakeShop, ready: httpx.AsyncClient) -> None:
    shop.orders.fails = ShopError(Problem.RULE, "card declined")
    response = await send(ready, "/checkout", key=await form_key(ready), **ADDRESS, **CARD)
    assert "4242424242424242" not in response.text
    assert "987" not in response.text
    shop.orders.fails = ZeroDivisionError()  # type: ignore[assignment]
    await send(ready, "/checkout", key=await form_key(ready), **ADDRESS, **CARD)
    assert "4242424242424242" not in str(shop.log.lines)
    shop.orders.fails = None
    await send(ready, "/checkout", key=await form_key(ready), **ADDRESS, **CARD)
    assert "4242" not in repr(shop.orders.cards)


async def test_who_is_not_logged_in_is_led_back_after_it(browser: httpx.AsyncClient) -> None:
    await send(browser, "/cart/add", product_id="2")
    for response in (await browser.get("/checkout"), await send(browser, "/checkout", **ADDRESS)):
        assert response.headers["location"] == "/login?next=/checkout"
    assert browser.cookies["cart"] == "2x1"


async def test_a_token_that_the_service_refuses_ends_at_the_log_in(
    shop: FakeShop, ready: httpx.AsyncClient
) -> None:
    shop.orders.fails = ShopError(Problem.LOGIN)
    response = await send(ready, "/checkout", key=await form_key(ready), **ADDRESS, **CARD)
    assert response.headers["location"] == "/login?next=/checkout"
    assert "session" not in ready.cookies


async def test_an_empty_cart_cannot_be_checked_out(bob: httpx.AsyncClient) -> None:
    assert (await bob.get("/checkout")).headers["location"] == "/cart"
    assert (await send(bob, "/checkout", **ADDRESS)).headers["location"] == "/cart"


async def test_an_order_placed_while_its_session_cannot_be_renewed_keeps_what_was_typed(
    shop: FakeShop, bob: httpx.AsyncClient
) -> None:
    await send(bob, "/cart/add", product_id="1", quantity="1")
    bob.cookies.set("session", jwt(2, "bob", expires_at=1.0), "shop.test")
    shop.accounts.fails = ShopError(Problem.UNAVAILABLE)
    response = await send(bob, "/checkout", key="k" * 22, **ADDRESS, **CARD)
    assert response.status_code == 503
    assert ADDRESS["street"] in response.text
    assert "k" * 22 in response.text
    assert CARD["card_number"] not in response.text
    shop.accounts.fails = None
    assert (await send(bob, "/checkout", key="k" * 22, **ADDRESS, **CARD)).status_code == 303
