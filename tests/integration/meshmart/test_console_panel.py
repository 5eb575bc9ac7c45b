"""What the console reads of a choice on demand, from real ports."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest

from grpcmesh.admin import AdminServer
from grpcmesh.admin.access import Access
from grpcmesh.clock import monotonic
from grpcmesh.config import AdminConfig, MeshConfig
from grpcmesh.http import HttpServer
from grpcmesh.member import Member
from meshmart.console import panel
from meshmart.console.reads import Reads
from meshmart.console.web import console_app
from tests.integration.meshmart.test_console import PATIENCE, Console, OddPort, admin, console
from tests.unit.meshmart.console.pages import Process

__all__ = ["admin", "console"]
LOCAL = AdminConfig(address="127.0.0.1:0")


@pytest.fixture
async def page(console: Console) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a console with the routes of the panel."""
    routes = panel.routes(console.poller.observer, Reads(monotonic))
    app = console_app(console.poller.hub, console.poller.history, Access(LOCAL), console.closing, routes)
    server = HttpServer(app, LOCAL.address, "console")
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE) as client:
        yield client
        console.closing.set()
    await server.aclose()


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
    console: Console, page: httpx.AsyncClient, member: Callable[..., Any]
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
    console: Console, page: httpx.AsyncClient, admin: Callable[..., Any]
) -> None:
    console.add("product", await admin(Process()))
    await console.until(lambda: console.replica("product-1"))
    told = (await page.get("/api/settings", params={"name": "product"})).json()
    assert "404" in told["problem"]


async def test_a_page_without_an_end_costs_only_itself(console: Console, page: httpx.AsyncClient) -> None:
    answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    async with OddPort(answer, endless=True) as port:
        console.add("product", port)
        await console.until(lambda: console.replica("product-1"))
        told = (await page.get("/api/settings", params={"name": "product"})).json()
        assert "problem" in told
        console.services.clear()
        await console.until(lambda: not console.replica("product-1"))
