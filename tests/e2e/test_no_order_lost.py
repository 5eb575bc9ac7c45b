"""Orders while random replicas of every service are killed: the books balance to the unit and the cent."""

import asyncio
import json
import random
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from meshmart.audit import audited
from meshmart.chaos import VICTIMS, Killer, order_until_killed, victims
from meshmart.embedded import EmbeddedCluster
from meshmart.operator import join
from services.loadgen.shop import Shop
from tests.e2e.conftest import RunningCluster, up

ORDERS, WORKERS, KILL_EVERY = 150, 5, 2.0
#: Seconds that the books may take to settle after the last kill, on a loaded machine.
SETTLE = 120.0


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """One of its own, as its replicas are killed and its books are spoiled."""
    state: Path = tmp_path_factory.mktemp("chaos") / "state"
    with up(RunningCluster(state, {"MESHMART_LOOPBACK": "127.44"})) as running:
        yield running


def test_no_accepted_order_is_lost_or_doubled_whatever_is_killed(shop: RunningCluster) -> None:
    asyncio.run(_order_run(shop))


async def _order_run(shop: RunningCluster) -> None:
    cluster = EmbeddedCluster(shop.state_dir)
    services = await victims(cluster)
    killer = Killer(cluster, services, KILL_EVERY, random.Random(1), limit=len(services))
    async with join(shop.state_dir) as joined:
        buyers = Shop(joined.member.channel, random.Random(2))
        runs = await order_until_killed(buyers, killer, ORDERS, workers=WORKERS)
    verdict, books = await audited(shop.state_dir / "data", shop.environment, SETTLE)
    assert services == list(VICTIMS)
    assert killer.kills.total() == len(services)
    assert [a for run in runs for a in run.asked if not a.accepted] == []
    assert [line for run in runs for line in run.astray(books)] == []
    assert verdict.problems == []
    assert verdict.unfinished == []
    assert verdict.settled
    assert verdict.orders["CONFIRMED"] == sum(run.wanted for run in runs)


def test_the_command_prints_the_sums(shop: RunningCluster) -> None:
    verdict = json.loads(shop.meshmart("audit", "--settle", "60s", "--json"))
    assert verdict["settled"]
    assert all(s["even"] for s in verdict["sums"])
    assert {s["section"] for s in verdict["sums"]} == {"orders", "money", "stock", "notifications"}
    assert shop.meshmart("audit").endswith("the books add up\n")


def test_a_cent_and_a_unit_that_are_missing_are_found(shop: RunningCluster) -> None:
    shop.meshmart("down")
    data = shop.state_dir / "data"
    _spoil(
        data / "payment.db", "UPDATE acquirer_ledger SET amount = amount - 1 WHERE reference = 'payment-1'"
    )
    _spoil(data / "product.db", "UPDATE product SET stock = stock - 1 WHERE id = 3")
    done = shop.run("audit")
    assert done.returncode == 1
    assert "WRONG  payment 1 (COMPLETED)" in done.stdout
    assert "WRONG  product 3" in done.stdout
    assert "the books do NOT add up" in done.stdout


def test_a_shop_without_books_is_a_clear_error(tmp_path: Path) -> None:
    done = RunningCluster(tmp_path).run("audit")
    assert done.returncode == 1
    assert done.stderr.startswith("meshmart: there are no books of order, payment, product in ")


def _spoil(database: Path, statement: str) -> None:
    with sqlite3.connect(database) as connection:
        assert connection.execute(statement).rowcount == 1
    connection.close()
