"""The pages on which a visitor changes its password, gets back in, and leaves."""

import httpx
import pytest

from services.storefront.domain import Problem, ShopError
from tests.unit.services.storefront.fakes import FakeShop, send

NEW = {"new": "a new password", "again": "a new password"}


async def test_a_password_is_changed_and_the_visitor_stays(shop: FakeShop, bob: httpx.AsyncClient) -> None:
    before = bob.cookies["csrf"]
    response = await send(bob, "/account/password", current="bob-password", **NEW)
    assert response.headers["location"] == "/account"
    assert shop.accounts.people["bob"][0] == "a new password"
    page = await bob.get("/account")
    assert "Your password is changed" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert bob.cookies["csrf"] != before


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"current": "guess", **NEW}, "Current password is not the one"),
        ({"current": "bob-password", "new": "short", "again": "short"}, "must have at least 8"),
        ({"current": "bob-password", "new": "a new password", "again": "another one"}, "two different ways"),
    ],
)
async def test_what_is_wrong_with_a_password_stands_at_its_field(
    shop: FakeShop, bob: httpx.AsyncClient, fields: dict[str, str], wrong: str
) -> None:
    response = await send(bob, "/account/password", **fields)
    assert response.status_code == 422
    assert wrong in response.text
    assert not any(typed in response.text for typed in fields.values())
    assert shop.accounts.people["bob"][0] == "bob-password"


async def test_leaving_takes_the_password_and_a_tick(shop: FakeShop, bob: httpx.AsyncClient) -> None:
    assert (await send(bob, "/account/delete", current="bob-password")).status_code == 422
    wrong = await send(bob, "/account/delete", current="guess", sure="yes")
    assert wrong.status_code == 422
    assert "bob" in shop.accounts.people
    gone = await send(bob, "/account/delete", current="bob-password", sure="yes")
    assert gone.headers["location"] == "/"
    assert "bob" not in shop.accounts.people
    assert "session" not in bob.cookies
    assert "Your account is deleted" in (await bob.get("/")).text


async def test_a_forgotten_password_is_replaced(shop: FakeShop, browser: httpx.AsyncClient) -> None:
    said = set()
    for login in ("bob", "nobody"):
        response = await send(browser, "/forgotten", login=login)
        said.add((response.headers["location"], (await browser.get("/reset")).text))
    assert len(said) == 1  # whether or not there is such an account
    wrong = await send(browser, "/reset", code="guess", **NEW)
    assert wrong.status_code == 422
    assert "Code is wrong, was used before" in wrong.text
    done = await send(browser, "/reset", code="code-of-bob", **NEW)
    assert done.headers["location"] == "/login"
    assert shop.accounts.people["bob"][0] == "a new password"


async def test_too_many_tries_are_told_when_the_next_may_come(
    shop: FakeShop, browser: httpx.AsyncClient
) -> None:
    shop.accounts.fails = ShopError(Problem.BUSY, retry_after=29.5)
    response = await send(browser, "/forgotten", login="bob")
    assert (response.status_code, response.headers["retry-after"]) == (429, "30")


@pytest.mark.parametrize("path", ["/account/password", "/account/delete", "/forgotten", "/reset"])
async def test_a_forged_form_changes_nothing(shop: FakeShop, bob: httpx.AsyncClient, path: str) -> None:
    fields = {"current": "bob-password", "sure": "yes", "login": "bob", "code": "x", **NEW}
    assert (await bob.post(path, data=fields)).status_code == 403
    foreign = {"origin": "https://evil.test"}
    sent = {**fields, "csrf": bob.cookies["csrf"]}
    assert (await bob.post(path, data=sent, headers=foreign)).status_code == 403
    assert shop.accounts.people["bob"][0] == "bob-password"
    assert not shop.accounts.codes


async def test_who_is_not_logged_in_logs_in_first(browser: httpx.AsyncClient) -> None:
    assert (await browser.get("/account")).headers["location"] == "/login?next=/account"
    for path in ("/account/password", "/account/delete"):
        assert (await send(browser, path)).headers["location"] == "/login?next=/account"
