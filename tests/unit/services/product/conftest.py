from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.kit.db import Database
from tests.unit.services.kit.files import fresh_url


@pytest.fixture
def url(tmp_path: Path) -> str:
    return fresh_url("product", tmp_path)


@pytest.fixture
async def db(url: str) -> AsyncIterator[Database]:
    async with Database.open(url, "product") as database:
        yield database
