"""A shop in memory with a few products, and a browser without redirects."""

from collections.abc import AsyncIterator

import httpx
import pytest

from services.storefront.domain import Category, Product
from tests.unit.services.storefront.fakes import FakeShop

PRODUCTS = [
    Product(1, "Aurora Laptop", "For <b>work</b>", 129_900, 50, Category.ELECTRONICS, ("laptop",)),
    Product(2, "Quiet Headphones", "For trains", 24_900, 40, Category.ELECTRONICS, ("headphones",)),
    Product(3, "Night Trains", "A book", 2_700, 3, Category.BOOKS, ("travel",)),
    Product(4, "Wall Clock", "The last is gone", 21_900, 0, Category.HOME, ("clock",)),
    *(Product(n, f"Candle {n}", "Smells", 2_800, 99, Category.HOME) for n in range(5, 30)),
]


@pytest.fixture
def shop() -> FakeShop:
    return FakeShop(PRODUCTS)


@pytest.fixture
async def browser(shop: FakeShop) -> AsyncIterator[httpx.AsyncClient]:
    async with shop.client() as client:
        await client.get("/login")
        yield client


@pytest.fixture
async def bob(browser: httpx.AsyncClient) -> httpx.AsyncClient:
    """The browser, logged in as bob."""
    return await _logged_in(browser, "bob")


@pytest.fixture
async def alice(browser: httpx.AsyncClient) -> httpx.AsyncClient:
    """The browser, logged in as alice."""
    return await _logged_in(browser, "alice")


async def _logged_in(client: httpx.AsyncClient, name: str) -> httpx.AsyncClient:
    form = {"csrf": client.cookies["csrf"], "login": name, "password": f"{name}-password"}
    response = await client.post("/login", data=form)
    assert response.status_code == 303
    return client
