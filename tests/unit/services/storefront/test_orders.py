import httpx
import pytest

from services.storefront.domain import Address, Notice, Problem, ShopError, Status
from tests.unit.services.storefront.fakes import BEGINNING, BOB, FakeShop, send


@pytest.fixture(autouse=True)
async def order_of_bob(shop: FakeShop) -> None:
    await shop.orders.create(BOB, 2, [(2, 1), (3, 2)], Address(city="Springfield"), None, "key")


async def test_an_order_shows_what_is_in_it_and_how_far_it_is(bob: httpx.AsyncClient) -> None:
    page = (await bob.get("/orders/1")).text
    assert "Quiet Headphones" in page
    assert "$303.00" in page
    assert 'data-step="confirmed" class="done" aria-current="step"' in page
    assert 'data-cursor="3"' in page


async def test_an_order_can_be_seen_without_the_catalogue(shop: FakeShop, bob: httpx.AsyncClient) -> None:
    shop.catalogue.fails = ShopError(Problem.UNAVAILABLE)
    response = await bob.get("/orders/1")
    assert response.status_code == 200
    assert "/art/other/parcel/1.svg" in response.text


async def test_a_buyer_may_cancel_and_an_admin_may_ship(bob: httpx.AsyncClient, shop: FakeShop) -> None:
    page = (await bob.get("/orders/1")).text
    assert "Cancel the order" in page
    assert "Mark as shipped" not in page
    assert (await send(bob, "/orders/1/status", status="shipped")).status_code == 403
    assert (await send(bob, "/orders/1/status", status="cancelled")).status_code == 303
    assert shop.orders.orders[1].status is Status.CANCELLED


async def test_an_admin_ships_anybodys_order(alice: httpx.AsyncClient, shop: FakeShop) -> None:
    assert "Mark as shipped" in (await alice.get("/orders/1")).text
    await send(alice, "/orders/1/status", status="shipped")
    page = (await alice.get("/orders/1")).text
    assert "The order has been changed" in page
    assert 'data-status="shipped"' in page


async def test_what_the_rules_forbid_is_told_on_the_orders_page(bob: httpx.AsyncClient) -> None:
    await send(bob, "/orders/1/status", status="cancelled")
    response = await send(bob, "/orders/1/status", status="cancelled")
    assert response.status_code == 409
    assert "that is no longer possible" in response.text
    assert (await send(bob, "/orders/1/status", status="nonsense")).status_code == 400


async def test_the_list_shows_ones_own_and_an_admin_can_see_everybodys(alice: httpx.AsyncClient) -> None:
    assert "No orders yet" in (await alice.get("/orders")).text
    assert "Order 1" in (await alice.get("/orders?everyone=1")).text


async def test_a_buyer_does_not_see_everybodys_by_asking(bob: httpx.AsyncClient) -> None:
    page = (await bob.get("/orders?everyone=1")).text
    assert "My orders" in page
    assert "Customer" not in page


async def test_somebody_elses_order_is_not_shown(shop: FakeShop, bob: httpx.AsyncClient) -> None:
    await shop.orders.create("", 3, [(1, 1)], Address(), None, "other")
    assert (await bob.get("/orders/2")).status_code == 403


async def test_orders_need_a_log_in(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/orders/1")).headers["location"] == "/login?next=/orders/1"
    assert (await browser.get("/orders")).headers["location"] == "/login?next=/orders"


async def test_the_list_tells_what_the_shop_told_lately(shop: FakeShop, bob: httpx.AsyncClient) -> None:
    shop.notices.notices = [Notice("Order 1 is shipped", "<It> is on its way.", BEGINNING)] * 9
    page = (await bob.get("/orders")).text
    assert page.count("Order 1 is shipped") == 5
    assert "&lt;It&gt; is on its way." in page
    assert "Order 1 is shipped" not in (await bob.get("/orders?page=2")).text


async def test_orders_are_listed_without_the_notification_service(
    shop: FakeShop, bob: httpx.AsyncClient
) -> None:
    shop.notices.fails = ShopError(Problem.UNAVAILABLE)
    response = await bob.get("/orders")
    assert response.status_code == 200
    assert "Order 1" in response.text
