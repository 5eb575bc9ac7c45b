import httpx
import pytest

from services.storefront.domain import Problem, ShopError
from services.storefront.settings import Settings
from tests.unit.services.storefront.fakes import BOB, FakeShop, send


async def test_logging_in_sets_the_session_and_leads_back(browser: httpx.AsyncClient) -> None:
    response = await send(browser, "/login", login="bob", password="bob-password", next="/orders/7")
    assert response.headers["location"] == "/orders/7"
    assert browser.cookies["session"] == BOB
    assert "Hi, bob" in (await browser.get("/")).text


async def test_logging_in_changes_the_token_of_forms(browser: httpx.AsyncClient) -> None:
    planted = browser.cookies["csrf"]
    await send(browser, "/login", login="bob", password="bob-password")
    assert browser.cookies["csrf"] != planted


@pytest.mark.parametrize(("login", "password"), [("bob", "wrong"), ("nobody", "x"), ("", "")])
async def test_a_failed_log_in_does_not_tell_whether_the_name_exists(
    browser: httpx.AsyncClient, login: str, password: str
) -> None:
    response = await send(browser, "/login", login=login, password=password)
    assert response.status_code == 401
    assert "That name and password do not match" in response.text
    assert "no user" not in response.text
    assert "session" not in browser.cookies


async def test_logging_in_never_leads_to_another_site(browser: httpx.AsyncClient) -> None:
    page = await browser.get("/login?next=//evil.test")
    assert "evil.test" not in page.text
    response = await send(browser, "/login", login="bob", password="bob-password", next="https://evil.test")
    assert response.headers["location"] == "/"


async def test_registering_logs_in(browser: httpx.AsyncClient) -> None:
    response = await send(browser, "/register", name="Dora", email="dora@example.com", password="long enough")
    assert response.status_code == 303
    assert "Hi, Dora" in (await browser.get("/")).text


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "D", "email": "nonsense", "password": "long enough"}, "Email is not an email address"),
        (
            {"name": "D", "email": "d@example.com", "password": "short"},
            "Password must have at least 8 characters",
        ),
        ({"name": "bob", "email": "b@example.com", "password": "long enough"}, "already exists"),
    ],
)
async def test_what_is_wrong_with_a_registration_stands_at_its_field(
    browser: httpx.AsyncClient, fields: dict[str, str], wrong: str
) -> None:
    response = await send(browser, "/register", **fields)
    assert response.status_code == 422
    assert wrong in response.text
    assert fields["email"] in response.text
    assert fields["password"] not in response.text


async def test_logging_out_forgets_the_session_and_ends_the_log_in(
    shop: FakeShop, bob: httpx.AsyncClient
) -> None:
    await send(bob, "/logout")
    assert "session" not in bob.cookies
    assert "refresh" not in bob.cookies
    assert shop.accounts.ended == ["refresh-bob"]
    assert "You are logged out." in (await bob.get("/")).text


async def test_logging_out_works_in_the_browser_while_the_shop_cannot_be_told(
    shop: FakeShop, bob: httpx.AsyncClient
) -> None:
    shop.accounts.fails = ShopError(Problem.UNAVAILABLE)
    assert (await send(bob, "/logout")).status_code == 303
    assert "session" not in bob.cookies
    assert "could not be told" in (await bob.get("/")).text


async def test_passwords_are_not_logged(shop: FakeShop, bob: httpx.AsyncClient) -> None:
    assert "bob-password" not in str(shop.log.lines)


@pytest.mark.parametrize("demo", [True, False])
async def test_passwords_are_told_only_where_demo_users_were_asked_for(shop: FakeShop, demo: bool) -> None:
    shop.site.settings = Settings(demo_users=demo)
    async with shop.client() as client:
        assert ("bob-password" in (await client.get("/login")).text) is demo


@pytest.mark.parametrize("https", [True, False])
async def test_https_makes_cookies_secure_and_keeps_browsers_to_it(https: bool) -> None:
    shop = FakeShop([], settings=Settings(secure_cookies=https))
    async with shop.client() as client:
        response = await client.get("/login")
    assert ("strict-transport-security" in response.headers) is https
    assert all(("Secure" in cookie) is https for cookie in response.headers.get_list("set-cookie"))


async def test_too_many_wrong_passwords_are_said_so_on_the_form(
    shop: FakeShop, browser: httpx.AsyncClient
) -> None:
    shop.accounts.fails = ShopError(Problem.BUSY, "too many wrong passwords", retry_after=29.5)
    response = await send(browser, "/login", login="bob", password="bob-password")
    assert (response.status_code, response.headers["retry-after"]) == (429, "30")
    assert "Too many tries" in response.text
