"""What the console reads of a choice on demand, from real ports."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from grpcmesh.admin import AdminServer
from grpcmesh.clock import monotonic
from grpcmesh.config import AdminConfig, MeshConfig
from grpcmesh.member import Member
from local.state import StateDir
from local.traces.server import TraceServer
from meshmart.console import panel
from meshmart.console.reads import Reads
from meshmart.embedded import EmbeddedCluster
from tests.integration.meshmart.test_console import Console, OddPort, admin, served
from tests.unit.local.test_traces import CHECKOUT
from tests.unit.meshmart.console.pages import Process

__all__ = ["admin"]
LOCAL = AdminConfig(address="127.0.0.1:0")


class Panel(Console):
    """A console over admin ports, an embedded cluster's log files, and servers beside them."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__()
        self.state = StateDir(state_dir)
        self.state.logs.mkdir(parents=True)
        self.cluster = EmbeddedCluster(state_dir)
        self.servers: dict[str, str] = {}

    async def status(self) -> dict[str, Any]:
        return await super().status() | self.servers


@pytest.fixture
async def console(tmp_path: Path) -> AsyncIterator[Panel]:
    made = Panel(tmp_path / "state")
    async with made.running():
        yield made


@pytest.fixture
async def page(console: Panel) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a console with the routes of the panel."""
    routes = panel.routes(console.poller, console.cluster, Reads(monotonic))
    async with served(console, routes) as client:
        yield client


@pytest.fixture
async def member() -> AsyncIterator[Callable[..., Any]]:
    """Starts an admin port with the settings of a member of the mesh, and returns its number."""
    servers: list[AdminServer] = []

    async def start(**environ: str) -> int:
        config = MeshConfig.from_env({"MESH_PLAINTEXT": "true", **environ}, service="order")
        member = Member(config, sockets=False)
        server = AdminServer(LOCAL, Process().registry, dict, member.settings)
        await server.start()
        servers.append(server)
        return server.port

    yield start
    for server in servers:
        await server.aclose()


async def test_the_settings_of_a_replica_with_their_sources(
    console: Panel, page: httpx.AsyncClient, member: Callable[..., Any]
) -> None:
    endpoint = "https://user:s3cret@collector:4317"
    console.add("order", await member(MESH_RESOLVER_PORT="50061", MESH_TELEMETRY_OTLP_ENDPOINT=endpoint))
    console.add("order", await member(MESH_RESOLVER_PORT="50062"))
    await console.until(lambda: console.replica("order-2"))
    for number, port in ((1, "50061"), (2, "50062")):
        told = (await page.get("/api/settings", params={"name": ["order", f"order-{number}"]})).json()
        assert told["of"] == f"order-{number}"
        assert ["MESH_RESOLVER_PORT", port, "environment"] in told["rows"]
        assert ["MESH_SERVICE", "order", "default"] in told["rows"]
        assert "s3cret" not in str(told)
    assert (await page.get("/api/settings", params={"name": "nothing"})).status_code == 404


async def test_a_replica_without_settings_is_said(
    console: Panel, page: httpx.AsyncClient, admin: Callable[..., Any]
) -> None:
    console.add("product", await admin(Process()))
    await console.until(lambda: console.replica("product-1"))
    told = (await page.get("/api/settings", params={"name": "product"})).json()
    assert "404" in told["problem"]


async def test_a_page_without_an_end_costs_only_itself(console: Panel, page: httpx.AsyncClient) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with OddPort(answer, endless=True) as port:
        console.add("product", port)
        await console.until(lambda: console.replica("product-1"))
        told = (await page.get("/api/settings", params={"name": "product"})).json()
        assert "problem" in told
        console.services.clear()
        await console.until(lambda: not console.replica("product-1"))


async def test_the_last_lines_of_a_replica_are_those_of_its_log(
    console: Panel, page: httpx.AsyncClient, admin: Callable[..., Any]
) -> None:
    console.add("product", await admin(Process()))
    await console.until(lambda: console.replica("product-1"))
    asked = {"name": ["product", "product-1"]}
    assert "there is no log of product/1" in (await page.get("/api/logs", params=asked)).json()["problem"]
    line = {"ts": "2026-01-01T00:00:00.000Z", "level": "ERROR", "msg": "no stock", "trace_id": "ab" * 16}
    console.state.log("product-1").write_text(f"{json.dumps(line)}\n")
    console.state.log("product-2").write_text("not this one\n")
    [row] = (await page.get("/api/logs", params={"name": "product"})).json()["rows"]
    assert (row["replica"], row["level"], row["text"], row["trace"]) == (
        "product-1", "ERROR", "no stock", "ab" * 16,
    )  # fmt: skip


async def test_the_traces_of_a_choice_are_those_in_which_it_took_part(
    console: Panel, page: httpx.AsyncClient, admin: Callable[..., Any]
) -> None:
    for service in ("order", "payment", "user"):
        console.add(service, await admin(Process()))
    await console.until(lambda: console.replica("user-1"))
    asked = {"name": "order"}
    assert (await page.get("/api/traces", params=asked)).json() == {
        "problem": "this cluster has no trace store"
    }
    async with TraceServer("127.0.0.1:0", "127.0.0.1:0") as traces:
        traces.store.add(replace(s, trace_id="ab" * 16) for s in CHECKOUT)
        console.servers["traces"] = f"http://127.0.0.1:{traces.http_port}"
        await console.until(lambda: console.frame()["links"])

        async def ids(*name: str) -> list[str]:
            found = await page.get("/api/traces", params={"name": name})
            return [row["name"] for row in found.json()["rows"]]

        assert await ids("payment") == ["POST /checkout"]
        assert await ids("order", "order-1") == ["POST /checkout"]
        assert await ids("edge", "order", "payment") == ["POST /checkout"]
        assert await ids("edge", "user", "payment") == []
        assert await ids("user") == []


async def test_without_a_prometheus_there_are_no_longer_ranges(
    console: Panel, page: httpx.AsyncClient, admin: Callable[..., Any]
) -> None:
    console.add("product", await admin(Process()))
    await console.until(lambda: console.replica("product-1"))
    assert console.frame()["ranges"] == []
    asked = {"name": "product", "hours": "6"}
    assert (await page.get("/api/range", params=asked)).status_code == 404
    async with OddPort(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]") as port:
        console.servers["prometheus"] = f"http://127.0.0.1:{port}"
        await console.until(lambda: console.frame()["ranges"])
        told = (await page.get("/api/range", params=asked)).json()
        assert told["points"] == [[None, None, None]] * 180
        assert (await page.get("/api/range", params={**asked, "hours": "7"})).status_code == 404
        console.servers["prometheus"] = "http://127.0.0.1:1"
        await console.until(lambda: console.frame()["links"]["prometheus"].endswith(":1"))
        assert "no answer" in (await page.get("/api/range", params={**asked, "hours": "1"})).json()["problem"]


async def test_what_a_panel_is_open_of_is_selected_to_be_read_first(
    console: Panel, page: httpx.AsyncClient, admin: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshmart.console.schedule.OPEN", 1e9)
    for service in ("product", "product", "order"):
        console.add(service, await admin(Process()))
    await console.until(lambda: len(console.poller.observer.watched) == 3)
    assert console.frame()["selected"]["replicas"] == 0
    await page.get("/api/settings", params={"name": "product"})
    await console.until(lambda: console.frame()["selected"] == {"replicas": 2, "interval": 0.05})
