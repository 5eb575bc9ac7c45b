from collections.abc import AsyncIterator

import pytest

from services.kit.db import Database
from tests.databases import Maker

from .ledgerkit import Shop


@pytest.fixture
def url(new_databases: Maker) -> str:
    return new_databases("product").url("product")


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database.open(url, "product") as database:
        yield database


@pytest.fixture
def shop(db: Database) -> Shop:
    return Shop(db)
