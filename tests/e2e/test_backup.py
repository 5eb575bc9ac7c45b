"""The commands of docs/backup.md, on a real PostgreSQL with the shop running."""

import asyncio
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import RunningCluster, up
from tests.integration.local.helpers import eventually
from tests.postgres import Postgres, throwaway

PAGE = (Path(__file__).parents[2] / "docs" / "backup.md").read_text()
ORDER = {"user_id": 2, "items": [{"product_id": 1, "quantity": 1}]}


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[Postgres]:
    with throwaway(postgres.programs) as server:
        asyncio.run(_create(server))
        yield server


async def _create(server: Postgres) -> None:
    async with server.connected() as connection:
        await connection.execute("CREATE DATABASE meshmart")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, server: Postgres) -> Iterator[RunningCluster]:
    environment = {"MESHMART_DATABASE_URL": server.url("meshmart"), "MESHMART_LOOPBACK": "127.57"}
    with up(RunningCluster(tmp_path_factory.mktemp("backup") / "state", environment)) as running:
        yield running


def _program(
    server: Postgres, name: str, *arguments: str, **how: Any
) -> "subprocess.CompletedProcess[bytes]":
    found = shutil.which(name, path=os.pathsep.join([str(server.programs), os.environ["PATH"]]))
    assert found, f"{name} is not installed"
    command = [found, "--host", str(server.directory), "--username", "meshmart", *arguments]
    return subprocess.run(command, check=True, capture_output=True, timeout=300, **how)


def _order(shop: RunningCluster) -> int:
    """The id of a new order."""
    token = shop.meshmart("token", "--user", "bob").strip()
    told = shop.meshmart("call", "ecommerce.OrderService/CreateOrder", json.dumps(ORDER), "--token", token)
    return int(json.loads(told)["order"]["id"])


def _there(shop: RunningCluster, order_id: int) -> bool:
    token = shop.meshmart("token", "--user", "bob").strip()
    asked = json.dumps({"id": order_id})
    done = shop.run("call", "ecommerce.OrderService/GetOrder", asked, "--token", token)
    assert done.returncode == 0 or "NOT_FOUND" in done.stderr, done.stderr
    return done.returncode == 0


def test_a_backup_is_restored_with_the_shop_running(
    shop: RunningCluster, server: Postgres, tmp_path: Path
) -> None:
    kept = _order(shop)
    load = ("load", "--scenario", "checkout", "--rps", "3", "--duration", "20s", "--json")
    command = [sys.executable, "-m", "meshmart", *load, "--state-dir", str(shop.state_dir)]
    with subprocess.Popen(command, env=shop.environment_of_commands, stdout=subprocess.PIPE) as running:
        dump = _program(server, "pg_dump", "--format", "custom", "meshmart").stdout
        told, _ = running.communicate(timeout=300)
    assert json.loads(told)["errors"] == 0  # nobody noticed the backup
    lost = _order(shop)
    _program(server, "createdb", "restored")
    _program(server, "pg_restore", "--dbname", "restored", "--exit-on-error", input=dump)
    (exchange,) = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    _program(server, "psql", "--dbname", "postgres", "--set", "ON_ERROR_STOP=1", input=exchange.encode())
    asyncio.run(eventually(lambda: _there(shop, kept), 120))
    assert not _there(shop, lost)
    assert _there(shop, _order(shop))
    shop.meshmart("audit", "--settle", "60s")
