"""Sessions of real visitors: two storefront replicas before real services."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from services.user.throttle import FREE
from tests.databases import Databases, Maker
from tests.integration.services.webkit import SERVICES, Running, web_shop
from tests.unit.services.storefront.fakes import jwt

#: A session that has just ended: what a tab holds after a quarter of an hour.
ENDED = jwt(2, "bob", expires_at=1.0)


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases(*SERVICES)


@pytest.fixture
async def shop(databases: Databases, tmp_path: Path) -> AsyncIterator[Running]:
    async with web_shop(databases, tmp_path, replicas=2) as running:
        yield running


class Browser:
    """A browser whose tabs share cookies and whose requests reach either replica."""

    def __init__(self, tabs: list[httpx.AsyncClient]) -> None:
        self.tabs = tabs

    @property
    def cookies(self) -> httpx.Cookies:
        return self.tabs[0].cookies

    async def post(self, path: str, **fields: str) -> httpx.Response:
        return await self.tabs[0].post(path, data={"csrf": self.cookies["csrf"], **fields})

    def share(self) -> None:
        """Each tab gets the cookies of the last."""
        for tab in self.tabs[:-1]:
            tab.cookies = httpx.Cookies(self.tabs[-1].cookies)


@pytest.fixture
async def bob(shop: Running) -> AsyncIterator[Browser]:
    """Logged in."""
    async with AsyncExitStack() as stack:
        clients = [
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{shop.ports[n % 2]}", trust_env=False, timeout=30)
            for n in range(6)
        ]
        browser = Browser([await stack.enter_async_context(client) for client in clients])
        await browser.tabs[0].get("/login")
        answer = await browser.post("/login", login="bob", password="bob-password")
        assert answer.status_code == 303
        browser.tabs[-1].cookies = httpx.Cookies(browser.cookies)
        browser.share()
        yield browser


def ended(browser: Browser) -> None:
    """A quarter of an hour has passed."""
    for tab in browser.tabs:
        tab.cookies.delete("session")
        tab.cookies.set("session", ENDED, domain="127.0.0.1")


async def test_tabs_that_renew_at_once_at_two_replicas_stay_logged_in(bob: Browser) -> None:
    before = bob.cookies["refresh"]
    for _ in range(3):
        ended(bob)
        answers = await asyncio.gather(*(tab.get("/orders") for tab in bob.tabs))
        assert [answer.status_code for answer in answers] == [200] * 6
        assert len({tab.cookies["refresh"] for tab in bob.tabs}) == 1
    assert bob.cookies["refresh"] != before


async def test_a_tab_that_lost_the_answer_stays_logged_in(bob: Browser) -> None:
    ended(bob)
    await bob.tabs[0].get("/orders")  # its cookies never reached the other tabs
    assert (await bob.tabs[1].get("/orders")).status_code == 200


async def test_a_form_that_was_open_over_renewals_is_accepted(bob: Browser) -> None:
    page = await bob.tabs[0].get("/products/1")
    csrf = bob.cookies["csrf"]
    assert csrf in page.text
    for _ in range(3):
        ended(bob)
        await bob.tabs[0].get("/orders")
    ended(bob)
    answer = await bob.tabs[0].post("/cart/add", data={"csrf": csrf, "product_id": "1", "quantity": "1"})
    assert answer.status_code == 303
    ended(bob)
    address = {"street": "1 Main", "city": "Town", "zip_code": "12345", "country": "US"}
    placed = await bob.tabs[0].post(
        "/checkout", data={"csrf": csrf, "pay": "wallet", "key": "k" * 22, **address}
    )
    assert placed.headers["location"].startswith("/orders/")


async def test_after_a_log_out_what_somebody_copied_is_worth_nothing(shop: Running, bob: Browser) -> None:
    copied = bob.cookies["refresh"]
    await bob.post("/logout")
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{shop.ports[1]}", trust_env=False, timeout=60
    ) as thief:
        thief.cookies.set("session", ENDED)
        thief.cookies.set("refresh", copied)
        answer = await thief.get("/orders")
        assert answer.headers["location"] == "/login?next=/orders"


async def log_in(shop: Running, address: str, name: str, password: str, replica: int = 0) -> int:
    """The status of a log-in through a trusted proxy that speaks for an address."""
    headers = {"x-forwarded-for": address}
    base = f"http://127.0.0.1:{shop.ports[replica]}"
    async with httpx.AsyncClient(base_url=base, headers=headers, trust_env=False, timeout=60) as client:
        await client.get("/login")
        form = {"csrf": client.cookies["csrf"], "login": name, "password": password}
        return (await client.post("/login", data=form)).status_code


async def test_a_stranger_who_guesses_is_throttled_at_every_replica_and_locks_nobody_out(
    shop: Running,
) -> None:
    guesses = [await log_in(shop, "192.0.2.1", "bob", f"guess {n}", n % 2) for n in range(FREE)]
    assert guesses == [401] * FREE
    for replica in range(2):
        assert await log_in(shop, "192.0.2.1", "bob", "bob-password", replica) == 429
        assert await log_in(shop, "192.0.2.2", "bob", "bob-password", replica) == 303


async def test_guesses_that_come_at_once_are_throttled_as_those_that_come_in_turn(shop: Running) -> None:
    guesses = (log_in(shop, "192.0.2.1", "bob", f"guess {n}", n % 2) for n in range(36))
    answers = Counter(await asyncio.gather(*guesses))
    assert answers[429]
    assert set(answers) <= {401, 429, 504}  # 504: on a machine that has no time for it
    # Those that are free; and what each of two replicas was hashing, two at a time, when they were used up.
    assert answers[401] <= FREE + 3


async def test_eighteen_log_ins_of_a_stranger_in_flight_keep_nobody_out(shop: Running) -> None:
    stranger = [asyncio.create_task(log_in(shop, "192.0.2.1", f"n{n}", "x", n % 2)) for n in range(36)]

    async def good(n: int) -> int:
        while (status := await log_in(shop, f"198.51.100.{n}", "bob", "bob-password", n % 2)) == 504:
            pass  # the machine has no time for it; the stranger's are answered meanwhile
        return status

    async with asyncio.timeout(120):
        assert await asyncio.gather(*map(good, range(4))) == [303] * 4
    assert set(await asyncio.gather(*stranger)) <= {401, 429, 504}
