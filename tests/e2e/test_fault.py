"""`meshmart fault` on the embedded cluster: set, listed, met by calls, cleared; and what cannot be done."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import RunningCluster

GET = "ecommerce.ProductService/GetProduct"


@pytest.fixture
def mended(cluster: RunningCluster) -> Iterator[RunningCluster]:
    """The cluster, without faults afterwards."""
    yield cluster
    cluster.meshmart("fault", "clear")


def faults(cluster: RunningCluster, *service: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = json.loads(cluster.meshmart("fault", "list", *service, "--json"))
    return listed


def test_a_fault_is_set_listed_met_and_cleared(mended: RunningCluster) -> None:
    replicas = [r["id"] for r in mended.status()["services"]["product"]["replicas"]]
    told = mended.meshmart(
        *("fault", "set", "product", "--method", "GetProduct", "--delay", "10ms", "--abort", "not_found")
    )
    assert told.splitlines() == [
        f"product/{n}  {GET}: delay 0.01 s, abort NOT_FOUND, share 1" for n in replicas
    ]
    called = mended.run("call", GET, '{"id": 1}')
    assert called.returncode == 1
    assert "NOT_FOUND: a fault has been set here on purpose" in called.stderr
    rows = faults(mended)
    assert [(r["service"], r["replica"], r["method"]) for r in rows] == [
        ("product", n, GET) for n in replicas
    ]
    assert sum(r["hits"] for r in rows) == 1
    assert GET in mended.meshmart("fault", "list", "product")
    assert mended.meshmart("fault", "clear").splitlines() == [f"product/{n}  1 cleared" for n in replicas]
    mended.meshmart("call", GET, '{"id": 1}')


def test_one_replica_is_sick_and_ready_all_the_same_until_its_fault_ends(mended: RunningCluster) -> None:
    mended.meshmart("fault", "set", "order", "--abort", "UNAVAILABLE", "--replica", "1", "--for", "1h")
    (row,) = faults(mended, "order")
    assert (row["replica"], row["method"], row["share"]) == (1, "*", 1.0)
    assert 0 < row["remaining"] <= 3600
    assert all(r["ready"] for r in mended.status()["services"]["order"]["replicas"])
    mended.meshmart("fault", "set", "order", "--abort", "UNAVAILABLE", "--replica", "1", "--for", "1ms")
    assert faults(mended, "order") == []


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (("set", "nosuch", "--abort", "UNAVAILABLE"), 1, "there is no service 'nosuch'"),
        (("set", "product", "--method", "Nope", "--delay", "1s"), 1, "has no method Nope"),
        (("set", "product", "--replica", "9", "--delay", "1s"), 1, "there is no product/9"),
        (("set", "product", "--replica", "1", "--abort", "NOPE"), 1, "fault.abort: must be one of ABORTED"),
        (("set", "product"), 1, "needs --delay, --abort, or both"),
        (("set", "product", "--delay", "soon"), 1, "'soon' is no duration"),
        (("set", "product", "--delay", "1s", "--share", "2"), 2, "--share"),
        (("clear", "nosuch"), 1, "there is no service 'nosuch'"),
    ],
)
def test_what_cannot_be_broken_is_told_in_one_line(
    cluster: RunningCluster, arguments: tuple[str, ...], status: int, told: str
) -> None:
    done = cluster.run("fault", *arguments)
    assert (done.returncode, told in done.stderr) == (status, True), done.stderr
    if status == 1:
        assert len(done.stderr.strip().splitlines()) == 1
