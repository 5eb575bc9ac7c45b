import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from services.storefront.calls import AGAIN, PAUSE, WRITE_TIMEOUT
from services.storefront.domain import Problem, ShopError, Tokens
from services.storefront.sessions import EARLY, Renewals, Session
from tests.unit.services.storefront.fakes import ALICE, BOB, FakeAccounts, FakeShop, jwt


def test_a_session_is_read_from_a_token() -> None:
    session = Session.read(ALICE)
    assert session is not None
    assert (session.user_id, session.name, session.is_admin) == (1, "alice", True)
    assert ALICE not in repr(session)


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c", "a.e30.c", "a.bnVsbA.c", "a.W10.c", "x" * 5000 + ".e30.y"]
)
def test_what_is_no_token_is_no_session(token: str) -> None:
    assert Session.read(token) is None


def test_tokens_do_not_show_themselves() -> None:
    assert repr(Tokens("secret", "secret")) == "Tokens()"


async def test_requests_that_bring_the_same_token_get_tokens_of_the_same_log_in() -> None:
    accounts = FakeAccounts()
    replicas = Renewals(accounts), Renewals(accounts)
    tokens = await asyncio.gather(*(replicas[n % 2].renew("refresh-bob") for n in range(6)))
    assert {(t.access, t.refresh) for t in tokens if t} == {(BOB, "refresh-bob-2")}


async def test_an_unreachable_user_service_is_no_reason_to_log_anybody_out() -> None:
    accounts = FakeAccounts()
    accounts.fails = ShopError(Problem.UNAVAILABLE)
    with pytest.raises(ShopError):
        await Renewals(accounts).renew("refresh-bob")


@asynccontextmanager
async def expired(shop: FakeShop, refresh_token: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser that comes back after its session has expired."""
    async with shop.client() as client:
        client.cookies.set("session", jwt(2, "bob", expires_at=1.0), "shop.test")
        client.cookies.set("refresh", refresh_token, "shop.test")
        yield client


async def test_an_expired_session_is_renewed_on_the_way(shop: FakeShop) -> None:
    async with expired(shop, "refresh-bob") as client:
        response = await client.get("/orders")
        assert response.status_code == 200
        assert client.cookies["session"] == BOB
        assert client.cookies["refresh"] == "refresh-bob-2"


async def test_an_expired_session_that_cannot_be_renewed_ends_at_the_log_in(shop: FakeShop) -> None:
    async with expired(shop, "used") as client:
        response = await client.get("/orders")
        assert response.headers["location"] == "/login?next=/orders"
        assert "session" not in client.cookies


async def test_while_renewing_fails_pages_for_everyone_are_shown_and_the_session_is_kept(
    shop: FakeShop,
) -> None:
    shop.accounts.fails = ShopError(Problem.UNAVAILABLE)
    async with expired(shop, "refresh-bob") as client:
        assert (await client.get("/")).status_code == 200
        assert (await client.get("/orders")).status_code == 503
        assert client.cookies["refresh"] == "refresh-bob"


async def test_a_token_is_renewed_before_the_calls_of_a_page_could_outlive_it(shop: FakeShop) -> None:
    assert EARLY > AGAIN * (WRITE_TIMEOUT + PAUSE)
    async with shop.client() as client:
        client.cookies.set("session", jwt(2, "bob", expires_at=time.time() + EARLY / 2), "shop.test")
        client.cookies.set("refresh", "refresh-bob", "shop.test")
        await client.get("/orders")
        assert client.cookies["session"] == BOB
