import asyncio
from collections.abc import Iterable
from pathlib import Path

import pytest

from meshmart.books.read import audit
from meshmart.errors import CommandError
from meshmart.redeliver import put_back
from services.kit import outbox
from services.kit.db import Database
from services.kit.outbox import SqlQueue
from services.kit.relay import Outcome
from services.manifest import shop
from tests.databases import Databases, Maker

STORING = [manifest.name for manifest in shop().values() if manifest.stores]
NOW = 1_767_225_600.0


def migrations(service: str) -> Iterable[Path]:
    return (Path(__file__).parents[3] / "services" / service / "migrations/versions").glob("*.py")


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases("order", "payment", "product", "notification", "user")


async def test_a_dead_letter_is_in_the_books_until_it_is_put_back(databases: Databases) -> None:
    data = Path(databases.environ.get("MESHMART_DATA_DIR", ""))
    async with Database.open(databases.url("order"), "order") as db:
        await db.write(lambda c: outbox.add(c, "analytics", "order-1", "order-1-2", {}, NOW))
        ((event,),) = await SqlQueue(db).take("analytics", NOW, NOW + 10, 1)
        await SqlQueue(db).settle(Outcome(dead=[(event, "INVALID_ARGUMENT: no")]))
        told = "order-1-2 for analytics: INVALID_ARGUMENT: no"
        assert f"dead letter {told}" in (await audit(data, databases.environ)).unfinished
        assert await put_back(data, databases.environ) == [told]
        assert f"dead letter {told}" not in (await audit(data, databases.environ)).unfinished
        assert await put_back(data, databases.environ) == []
        assert (await SqlQueue(db).waiting(["analytics"]))["analytics"].count == 1


async def test_dead_letters_of_payments_are_put_back_too(databases: Databases) -> None:
    data = Path(databases.environ.get("MESHMART_DATA_DIR", ""))
    async with Database.open(databases.url("payment"), "payment") as db:
        await db.write(lambda c: outbox.add(c, "orders", "payment-1", "re_1", {}, NOW))
        ((event,),) = await SqlQueue(db).take("orders", NOW, NOW + 10, 1)
        await SqlQueue(db).settle(Outcome(dead=[(event, "INVALID_ARGUMENT: no")]))
        told = "re_1 for orders: INVALID_ARGUMENT: no"
        assert (await audit(data, databases.environ)).unfinished == [f"dead letter {told}"]
        assert await put_back(data, databases.environ) == [told]


@pytest.mark.parametrize("service", STORING)
async def test_dead_letters_of_every_service_with_an_outbox_are_put_back(
    new_databases: Maker, service: str
) -> None:
    databases = new_databases(*STORING)
    data = Path(databases.environ.get("MESHMART_DATA_DIR", ""))
    with_outbox = any("outbox.create(" in path.read_text() for path in migrations(service))
    async with Database.open(databases.url(service), service) as db:
        assert await outbox.present(db) == with_outbox
        if with_outbox:
            await db.write(lambda c: outbox.add(c, "some", "2", "event-2", {}, NOW))
            ((event,),) = await SqlQueue(db).take("some", NOW, NOW + 10, 1)
            await SqlQueue(db).settle(Outcome(dead=[(event, "INVALID_ARGUMENT: no")]))
    told = ["event-2 for some: INVALID_ARGUMENT: no"] if with_outbox else []
    assert await put_back(data, databases.environ) == told


def test_where_there_is_no_outbox_none_is_made(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="there is no outbox"):
        asyncio.run(put_back(tmp_path, {}))
    assert list(tmp_path.iterdir()) == []
