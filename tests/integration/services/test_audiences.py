"""What a service that was taken over can do with the tokens that it received: nothing."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from tests.databases import Maker
from tests.integration.services.webkit import SERVICES, Running, web_shop


@pytest.fixture
async def shop(new_databases: Maker, tmp_path: Path) -> AsyncIterator[Running]:
    async with web_shop(new_databases(*SERVICES), tmp_path) as running:
        yield running


async def test_a_token_that_a_service_received_opens_nothing_elsewhere(shop: Running) -> None:
    base = f"http://127.0.0.1:{shop.port}"
    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as bob:
        await bob.get("/login")
        form = {"csrf": bob.cookies["csrf"], "login": "bob", "password": "bob-password"}
        await bob.post("/login", data=form)
        cookie = bob.cookies["session"]
        assert (await bob.get("/orders")).status_code == 200
        assert (await bob.get("/orders")).status_code == 200
    (stolen,) = set(shop.received["order"])
    assert stolen != cookie
    assert shop.received["user"] == [cookie] * len(shop.received["user"])
    exchanged = len(shop.received["user"])
    assert exchanged <= 2, "tokens are kept as long as they are good"

    async with httpx.AsyncClient(base_url=base, trust_env=False, timeout=30) as thief:
        # In a cookie, as the visitor's browser would send it, and as a client of the API.
        thief.cookies.set("session", stolen)
        page = await thief.get("/orders")
        assert page.status_code in (303, 401), page.text
        thief.cookies.clear()
        answer = await thief.get("/api/orders", headers={"authorization": f"Bearer {stolen}"})
        assert answer.status_code == 401
        own = await thief.get("/api/orders", headers={"authorization": f"Bearer {cookie}"})
        assert own.status_code == 200
