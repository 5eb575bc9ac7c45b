"""Fixtures of the tests of the books."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from services.kit.db import Database
from tests.databases import Maker

from .bookkit import GOOD, SERVICES, Shop


@pytest.fixture
async def shop(new_databases: Maker) -> AsyncIterator[Shop]:
    databases = new_databases(*SERVICES)
    async with AsyncExitStack() as stack:
        dbs = {
            name: await stack.enter_async_context(Database.open(databases.url(name), name))
            for name in SERVICES
        }
        made = Shop(databases, dbs)
        for service, statements in GOOD.items():
            await made.spoil(service, *statements)
        yield made
