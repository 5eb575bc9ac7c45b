"""The HTTP server around the shop in memory: what a drain does to requests and streams under way."""

import asyncio
import resource
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from services.storefront import live
from services.storefront.domain import Address, Category, Product
from services.storefront.server import HttpServer
from tests.unit.services.storefront.fakes import BOB, FakeShop

PATIENCE = 60.0


@pytest.fixture
def shop() -> FakeShop:
    return FakeShop([Product(1, "Book", "", 1999, 3, Category.BOOKS)])


@asynccontextmanager
async def serving(shop: FakeShop, grace: float = 3.0) -> AsyncIterator[tuple[HttpServer, httpx.AsyncClient]]:
    async with (
        HttpServer(shop.app, "127.0.0.1", 0, shop.closing, grace) as server,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}", trust_env=False, timeout=60) as client,
    ):
        yield server, client


async def test_pages_are_served_without_telling_by_what(shop: FakeShop) -> None:
    async with serving(shop) as (_, client):
        response = await client.get("/")
        assert response.status_code == 200
        assert "server" not in response.headers


async def test_a_request_under_way_is_finished_in_a_drain(shop: FakeShop) -> None:
    entered, go = asyncio.Event(), asyncio.Event()
    original = shop.catalogue.product

    async def slow(product_id: int) -> Product:
        entered.set()
        await go.wait()
        return await original(product_id)

    shop.catalogue.product = slow  # type: ignore[method-assign]
    async with serving(shop) as (server, client):
        request = asyncio.create_task(client.get("/products/1"))
        await asyncio.wait_for(entered.wait(), PATIENCE)
        leaving = asyncio.create_task(server.__aexit__(None, None, None))
        await asyncio.wait_for(shop.closing.wait(), PATIENCE)
        go.set()
        response = await asyncio.wait_for(request, PATIENCE)
        assert response.status_code == 200
        assert response.headers["connection"] == "close"
        await asyncio.wait_for(leaving, PATIENCE)


async def test_a_request_that_does_not_end_is_cut_after_the_grace(shop: FakeShop) -> None:
    entered, cancelled = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async with HttpServer(app, "127.0.0.1", 0, shop.closing, 1.0) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.wait_for(entered.wait(), PATIENCE)
    assert cancelled.is_set()
    writer.close()
    await asyncio.wait_for(reader.read(), PATIENCE)


async def test_a_followed_order_ends_in_a_drain_and_resumes_elsewhere(shop: FakeShop) -> None:
    await shop.orders.create(BOB, 2, [(1, 1)], Address(), None, "key")
    cookies = {"cookie": f"session={BOB}"}
    async with serving(shop) as (server, client):
        async with client.stream("GET", "/orders/1/events?after=3", headers=cookies) as response:
            lines = response.aiter_lines()
            assert await asyncio.wait_for(anext(lines), PATIENCE) == "retry: 1000"
            shop.orders.streams[0].queue.put_nowait(shop.update(4))
            while await asyncio.wait_for(anext(lines), PATIENCE) != "id: 4":
                pass
            leaving = asyncio.create_task(server.__aexit__(None, None, None))
            rest = [line async for line in lines]
            assert rest[0] == "event: update"
        await asyncio.wait_for(leaving, PATIENCE)
    elsewhere = FakeShop([])
    async with serving(elsewhere) as (_, client):
        again = {**cookies, "last-event-id": "4"}
        async with client.stream("GET", "/orders/1/events?after=3", headers=again) as response:
            await asyncio.wait_for(anext(response.aiter_lines()), PATIENCE)
        assert elsewhere.orders.followed == [4]


async def test_a_taken_port_is_an_error_and_not_an_exit(shop: FakeShop) -> None:
    async with serving(shop) as (server, _):
        other = HttpServer(shop.app, "127.0.0.1", server.port, asyncio.Event(), 1.0)
        with pytest.raises(OSError, match="in use"):
            await other.__aenter__()


async def test_a_server_that_stops_by_itself_is_an_error(shop: FakeShop) -> None:
    async with serving(shop) as (server, _):
        server._server.should_exit = True
        with pytest.raises(RuntimeError, match="by itself"):
            await asyncio.wait_for(server.watch(), PATIENCE)


@pytest.fixture
def many_files() -> Iterator[None]:
    """Enough file descriptors for both ends of a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 8192)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("many_files")
@pytest.mark.parametrize("source", ["127.0.0.1", "127.0.0.9"])
async def test_1030_half_sent_requests_keep_nobody_out(shop: FakeShop, source: str) -> None:
    async with serving(shop) as (server, client):
        halves = []
        for _ in range(1030):
            at = ("127.0.0.1", server.port)
            halves.append(await asyncio.open_connection(*at, local_addr=(source, 0)))
            halves[-1][1].write(b"GET / HTTP/1.1\r\nHost: x\r\n")
        assert (await client.get("/", timeout=PATIENCE)).status_code == 200
        for _, writer in halves:
            writer.close()


async def test_one_address_follows_only_so_many_orders(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "MAX_STREAMS_OF_ONE", 2)
    await shop.orders.create(BOB, 2, [(1, 1)], Address(), None, "key")
    cookies = {"cookie": f"session={BOB}"}
    async with serving(shop) as (_, client), AsyncExitStack() as stack:
        kept = []
        for _ in range(2):
            stream = client.stream("GET", "/orders/1/events", headers=cookies)
            kept.append((await stack.enter_async_context(stream)).aiter_lines())
            await asyncio.wait_for(anext(kept[-1]), PATIENCE)
        assert (await client.get("/orders/1/events", headers=cookies)).status_code == 429
