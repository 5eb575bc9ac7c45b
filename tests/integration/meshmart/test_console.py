"""The console as a server: real admin ports behind it, and a real HTTP client before it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import Route

from grpcmesh.admin import AdminServer
from grpcmesh.admin.access import Access
from grpcmesh.clock import monotonic
from grpcmesh.config import AdminConfig
from grpcmesh.http import HttpServer
from local.errors import ClusterError
from meshmart.console.poller import Poller
from meshmart.console.schedule import Budget
from meshmart.console.web import assets, console_app
from meshmart.scrape import TOKEN_FILE
from tests.unit.meshmart.console.pages import EPOCH, Process, replica, status

#: Seconds that anything may take on a loaded machine.
PATIENCE = 120.0
QUICK = Budget(interval=0.05, idle_interval=0.05, push=0.05, idle_push=0.05)


class Console:
    """A console over a cluster of admin ports that serve the pages of `Process`."""

    def __init__(self, budget: Budget = QUICK, renew_before: float | None = 1200.0) -> None:
        self.services: dict[str, list[dict[str, Any]]] = {}
        self.broken = ""
        self.wall = lambda: EPOCH + monotonic()
        self.poller = Poller(self, budget, monotonic, self.wall, renew_before=renew_before)
        self.closing = asyncio.Event()

    async def status(self) -> dict[str, Any]:
        if self.broken:
            raise ClusterError(self.broken)
        return status(**self.services)

    def add(self, service: str, port: int, **more: Any) -> None:
        """Add a replica whose admin port is on 127.0.0.1."""
        replicas = self.services.setdefault(service, [])
        metrics = f"http://127.0.0.1:{port}/metrics"
        replicas.append(replica(len(replicas) + 1, len(self.services), metrics=metrics, **more))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Poll inside the block."""
        polling = asyncio.create_task(self.poller.run())
        try:
            yield
        finally:
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)

    def silent(self, name: str) -> bool:
        """Return whether a replica's page could not be read."""
        watched = self.poller.observer.watched.get(name)
        return watched is not None and watched.silent_since is not None

    def frame(self) -> dict[str, Any]:
        return json.loads(self.poller.hub.frame) if self.poller.hub.frame else {"services": [], "edges": []}

    def replica(self, name: str) -> dict[str, Any]:
        found = [r for s in self.frame()["services"] for r in s["replicas"] if r["name"] == name]
        return found[0] if found else {}

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for frames until one is as wanted."""
        async with asyncio.timeout(PATIENCE):
            with self.poller.hub.viewer() as viewer:
                while not condition():
                    await viewer.next()


@pytest.fixture
async def console() -> AsyncIterator[Console]:
    made = Console()
    async with made.running():
        yield made


@pytest.fixture
async def admin() -> AsyncIterator[Callable[..., Any]]:
    """Starts an admin port with the metrics of a process, and returns its number."""
    servers: list[AdminServer] = []

    async def start(process: Process, token_file: Path | None = None) -> int:
        config = AdminConfig(address="127.0.0.1:0", token_file=token_file, metrics_token=bool(token_file))
        server = AdminServer(config, process.registry, dict)
        await server.start()
        servers.append(server)
        return server.port

    yield start
    for server in servers:
        await server.aclose()


@pytest.fixture
async def page(console: Console) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the console's own port."""
    async with served(console) as client:
        yield client


@asynccontextmanager
async def served(console: Console, routes: Sequence[Route] = ()) -> AsyncIterator[httpx.AsyncClient]:
    """Serve a console, with further routes, and yield a client of its port."""
    config = AdminConfig(address="127.0.0.1:0")
    app = console_app(console.poller.hub, console.poller.history, Access(config), console.closing, routes)
    server = HttpServer(app, config.address, "console")
    await server.start()
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", timeout=PATIENCE) as client:
        yield client
        console.closing.set()
    await server.aclose()


async def frames(page: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
    """The frames of the stream."""
    async with page.stream("GET", "/events") as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        async for line in stream.aiter_lines():
            if line.startswith("data: "):
                yield json.loads(line.removeprefix("data: "))


async def test_the_numbers_are_those_of_the_processes(
    console: Console, page: httpx.AsyncClient, admin: Callable[..., Any]
) -> None:
    product, order = Process(), Process()
    product.serves("ProductService", 11)
    product.serves("ProductService", 2, code="Internal")
    order.calls("product", "ProductService", 13)
    order.certificate("cafe" * 10)
    console.add("product", await admin(product))
    console.add("order", await admin(order))
    async for frame in frames(page):
        edges = {(e["source"], e["target"]): e for e in frame["edges"]}
        if edges and "serial" in frame["services"][1]["replicas"][0]:
            break
    served = product.registry.get_sample_value
    about = {"grpc_type": "unary", "grpc_service": "ecommerce.ProductService", "grpc_method": "Get"}
    of = frame["services"][0]
    assert of["calls"] == sum(
        served("grpc_server_handled_total", about | {"grpc_code": code}) or 0 for code in ("OK", "Internal")
    )
    assert of["failures"] == 2
    assert edges["order", "product"]["calls"] == 13
    times = {"not_before": EPOCH, "not_after": EPOCH + 3600, "renewal": EPOCH + 2400}
    assert frame["services"][1]["certificates"] == [{"serial": "cafe" * 10, **times}]


async def test_calls_and_events_arrive_on_the_stream(
    console: Console, page: httpx.AsyncClient, admin: Callable[..., Any]
) -> None:
    process = Process()
    process.serves("ProductService", 0)
    console.add("product", await admin(process))
    async for frame in frames(page):
        product = next(iter(frame["services"]), {})
        if "product-1 left rotation: its health probe fails" in [e["text"] for e in frame["feed"]]:
            break
        if product.get("rate"):
            console.services["product"][0]["ready"] = False
        elif product and "age" in product["replicas"][0]:
            process.serves("ProductService", 5)
    assert frame["services"][0]["replicas"][0]["state"] == "broken"
    names = {"name": ["product", "product-1"]}
    await console.until(lambda: console.poller.history.read(names["name"]))
    history = (await page.get("/api/history", params=names)).json()
    assert len(history["points"]) == history["count"] == 180
    assert (await page.get("/api/history", params={"name": "nothing"})).status_code == 404


class OddPort:
    """An admin port that answers as none should."""

    def __init__(self, answer: bytes, endless: bool = False) -> None:
        self._answer, self._endless = answer, endless
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> int:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return int(self._server.sockets[0].getsockname()[1])

    async def __aexit__(self, *error: object) -> None:
        """Wait until the console has given up every connection."""
        # A connection has its task a few turns of the loop after it was made; closed before, it leaks.
        for _ in range(10):
            await asyncio.sleep(0)
        self._server.close()
        await asyncio.gather(*self._connections)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        with suppress(OSError, EOFError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answer)
            while self._endless and not writer.is_closing():
                writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
                await writer.drain()
            await reader.read()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        self._connections.discard(task)


@pytest.mark.parametrize(
    ("answer", "endless"),
    [
        (b"", False),
        (b"\x00\xff\x16\x03 this is no HTTP\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", False),
    ],
    ids=["hangs", "garbage", "endless", "redirect"],
)
async def test_an_odd_admin_port_costs_only_its_own_figures(
    admin: Callable[..., Any], answer: bytes, endless: bool
) -> None:
    console = Console(replace(QUICK, timeout=2.0))
    process = Process()
    process.serves("OrderService", 3)
    async with OddPort(answer, endless) as port:
        console.add("product", port)
        console.add("order", await admin(process))
        async with console.running():
            await console.until(lambda: console.silent("product-1"))
            await console.until(lambda: console.replica("order-1").get("calls") == 3)
            assert console.poller.observer.watched["product-1"].window.last is None


async def test_admin_ports_that_want_a_token_get_it(
    console: Console, admin: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret\n")
    process = Process()
    process.serves("ProductService", 3)
    monkeypatch.setenv(TOKEN_FILE, str(token))
    console.add("product", await admin(process, token))
    await console.until(lambda: console.replica("product-1").get("calls") == 3)
    assert b"s3cret" not in console.poller.hub.frame


async def test_a_cluster_that_does_not_answer_is_said_and_the_last_picture_stays(
    console: Console, admin: Callable[..., Any]
) -> None:
    console.add("product", await admin(Process()))
    await console.until(lambda: console.replica("product-1"))
    console.broken = "the supervisor (pid 1) does not take requests"
    await console.until(lambda: console.frame()["problem"] == console.broken)
    assert console.replica("product-1")
    console.broken = ""
    await console.until(lambda: console.frame()["problem"] == "")


async def test_everything_is_read_only(console: Console, page: httpx.AsyncClient) -> None:
    for path in ("/", "/events", "/api/state", "/api/history", "/static/console.js"):
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            assert (await page.request(method, path)).status_code == 405, (method, path)


async def test_every_answer_forbids_what_is_not_of_the_console_itself(page: httpx.AsyncClient) -> None:
    for path in ("/", "/static/console.js", "/nothing"):
        headers = (await page.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert "access-control-allow-origin" not in headers
    for asset in assets().values():
        assert b"https://" not in asset.body
        assert b"innerHTML" not in asset.body


async def test_what_the_page_loads_is_within_its_budget() -> None:
    import gzip

    assert sum(len(gzip.compress(asset.body)) for asset in assets().values()) < 60_000


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "evil.example"},  # DNS rebinding
        {"origin": "http://127.0.0.1:8080"},  # the shop is another origin
        {"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors", "sec-fetch-dest": "image"},
        {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"},
    ],
)
@pytest.mark.parametrize("path", ["/", "/events", "/api/state", "/static/console.js"])
async def test_pages_of_other_origins_are_refused(
    page: httpx.AsyncClient, headers: dict[str, str], path: str
) -> None:
    assert (await page.get(path, headers=headers)).status_code == 403


async def test_a_person_may_follow_a_link_from_the_shop(page: httpx.AsyncClient) -> None:
    link = {"sec-fetch-site": "same-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert (await page.get("/", headers=link)).status_code == 200


async def test_with_a_token_only_those_who_present_it_see_the_console(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("s3cret")
    access = Access(AdminConfig(address="0.0.0.0:8081", token_file=token))
    poller = Console().poller
    poller.hub.publish(b"{}")
    app = console_app(poller.hub, poller.history, access, asyncio.Event())
    transport = httpx.ASGITransport(app, client=("203.0.113.9", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://console.example") as client:
        refused = await client.get("/api/state")
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Basic")
        assert (await client.get("/", auth=("admin", "wrong"))).status_code == 401
        assert (await client.get("/", auth=("admin", "s3cret"))).status_code == 200
        bearer = {"authorization": "Bearer s3cret"}
        assert (await client.get("/api/state", headers=bearer)).json() == {}


async def test_a_viewer_too_many_is_refused(
    console: Console, page: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("meshmart.console.hub.MAX_VIEWERS", 0)
    assert (await page.get("/events")).status_code == 503
