"""The whole shop behind a PgBouncer that shares its connections by the transaction."""

import json
import os
from collections.abc import Iterator

import pytest

from tests import pgbouncer
from tests.databases import PostgresMaker
from tests.e2e.conftest import RunningCluster, up
from tests.postgres import Postgres

#: Of PostgreSQL, for fourteen processes that would take fifty-six by themselves.
CONNECTIONS = 8


@pytest.fixture(scope="module")
def shop(
    tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, postgres_maker: PostgresMaker
) -> Iterator[RunningCluster]:
    binary = pgbouncer.program()
    if binary is None:
        problem = "PgBouncer is not installed; on Debian: apt install pgbouncer"
        if os.environ.get("CI"):
            pytest.fail(problem)
        pytest.skip(problem)
    database = postgres_maker().url("shop").partition("?")[0].rpartition("/")[2]
    with pgbouncer.throwaway(postgres, "transaction", CONNECTIONS, binary) as directory:
        url = f"postgresql://meshmart@/{database}?host={directory}&port=6432&pooling=transaction"
        environment = {"MESHMART_DATABASE_URL": url, "MESHMART_LOOPBACK": "127.59"}
        with up(RunningCluster(tmp_path_factory.mktemp("bouncer") / "state", environment)) as running:
            yield running
    postgres_maker.release()


def test_orders_go_through_it_and_the_books_balance(shop: RunningCluster) -> None:
    load = ("load", "--scenario", "buy", "--rps", "3", "--duration", "15s", "--json")
    report = json.loads(shop.meshmart(*load))
    assert report["errors"] == 0
    told = json.loads(shop.meshmart("audit", "--settle", "60s", "--json"))
    assert told["orders"]["CONFIRMED"] >= report["methods"]["order/CreateOrder"]["calls"]
