"""The shop on PostgreSQL, and PostgreSQL restarted under it."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import text

from services.kit.db import Database
from services.manifest import shop as manifests
from tests.databases import PostgresMaker, stored_text
from tests.e2e.conftest import RunningCluster, up
from tests.e2e.test_secrets import logged, vanish
from tests.integration.local.helpers import eventually
from tests.postgres import Postgres

SERVICES = [manifest.name for manifest in manifests().values() if manifest.stores]
ORDER = {"user_id": 2, "items": [{"product_id": 1, "quantity": 2}, {"product_id": 2, "quantity": 1}]}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, postgres_maker: PostgresMaker) -> Iterator[RunningCluster]:
    """An embedded cluster with nothing in its data directory."""
    environment = {**postgres_maker().environ, "MESHMART_LOOPBACK": "127.53"}
    with up(RunningCluster(tmp_path_factory.mktemp("postgres") / "state", environment)) as running:
        yield running
    postgres_maker.release()


def _ask(shop: RunningCluster, method: str, request: dict[str, Any]) -> dict[str, Any]:
    token = shop.meshmart("token", "--user", "bob").strip()
    answer: dict[str, Any] = json.loads(
        shop.meshmart("call", f"ecommerce.{method}", json.dumps(request), "--token", token)
    )
    return answer


def _orders(shop: RunningCluster) -> int:
    """How many are confirmed, according to the books; these must balance."""
    return int(json.loads(shop.meshmart("audit", "--settle", "60s", "--json"))["orders"].get("CONFIRMED", 0))


def test_a_checkout_is_stored_there_and_nowhere_else(shop: RunningCluster) -> None:
    order = _ask(shop, "OrderService/CreateOrder", ORDER)["order"]
    found = _ask(shop, "OrderService/GetOrder", {"id": order["id"]})["order"]
    assert found == order
    assert found["status"] == "ORDER_STATUS_CONFIRMED"
    assert not list((shop.state_dir / "data").glob("*.db"))


async def test_what_pays_is_nowhere_to_be_found_afterwards(shop: RunningCluster, postgres: Postgres) -> None:
    async def stored() -> bytes:
        """Every row, and what the processes and the server said."""
        rows = list[str]()
        for service in SERVICES:
            async with Database.open(shop.environment["MESHMART_DATABASE_URL"], service) as db:
                rows.append(await stored_text(db))
        said = (postgres.directory / "log").read_bytes()
        return b"\n".join(("\n".join(rows).encode(), said, await asyncio.to_thread(logged, shop.state_dir)))

    secrets = await vanish(shop, stored)
    changes = [path for path in (postgres.directory / "data" / "pg_wal").iterdir() if path.is_file()]
    assert changes
    for path in changes:  # and what was overwritten or taken back
        written = await asyncio.to_thread(path.read_bytes)
        assert [secret for secret in secrets.long() if secret.encode() in written] == []


@pytest.mark.tour
@pytest.mark.parametrize("scene", ["balance", "kill"])
def test_a_scene_keeps_its_bounds(shop: RunningCluster, scene: str) -> None:
    outcome = shop.played(scene)[scene]
    assert outcome["passed"], json.dumps(outcome, indent=1)


def _load(shop: RunningCluster) -> dict[str, Any]:
    load = ("load", "--scenario", "checkout", "--rps", "5", "--duration", "15s", "--json")
    report: dict[str, Any] = json.loads(shop.run(*load).stdout)
    return report


async def _placed(shop: RunningCluster) -> int:
    """How many there are right now."""
    async with Database.open(shop.environment["MESHMART_DATABASE_URL"], "order") as db:
        count = text("SELECT count(*) FROM orders WHERE status = 'CONFIRMED'")
        return int(await db.read(lambda c: c.scalar(count)) or 0)


async def test_orders_flow_on_after_a_restart_of_the_database_and_the_books_balance(
    shop: RunningCluster, postgres: Postgres
) -> None:
    before = await asyncio.to_thread(_orders, shop)
    loading = asyncio.create_task(asyncio.to_thread(_load, shop))

    async def flowing() -> bool:
        return await _placed(shop) >= before + 10

    await eventually(flowing, 120)
    for mode in ("fast", "immediate"):
        await asyncio.to_thread(postgres.stop, mode)
        await asyncio.to_thread(postgres.start)
    report = await loading
    # A busy machine may restart the database for longer than a buyer waits.
    assert set(report["codes"]) <= {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED"}
    after = await asyncio.to_thread(_orders, shop)
    told = report["methods"]["order/CreateOrder"]
    assert after - before >= told["calls"] - told["errors"]  # whatever was told to be placed is there
    # The load may have ended before the restart did.
    await asyncio.to_thread(_ask, shop, "OrderService/CreateOrder", ORDER)
    assert await asyncio.to_thread(_orders, shop) == after + 1
