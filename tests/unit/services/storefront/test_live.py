import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from starlette.types import Message

from services.storefront.domain import Problem, ShopError, Status
from services.storefront.live import MAX_STREAMS
from tests.unit.services.storefront.fakes import BOB, FAR, FakeShop, jwt

PATIENCE = 60.0


class Browser:
    """One EventSource, at the level of ASGI: what is sent can be read while the response goes on."""

    def __init__(self, shop: FakeShop, path: str, headers: dict[str, str]) -> None:
        self.sent: asyncio.Queue[Message] = asyncio.Queue(100)
        self.left = asyncio.Event()
        path, _, query = path.partition("?")
        raw = [(k.encode(), v.encode()) for k, v in {"host": "shop.test", **headers}.items()]
        scope = {
            "type": "http",
            "method": "GET",
            "path": path,
            "query_string": query.encode(),
            "headers": raw,
            "scheme": "http",
            "server": ("shop.test", 80),
        }
        self.task = asyncio.create_task(shop.app(scope, self._receive, self.sent.put))

    async def _receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def message(self) -> Message:
        return await asyncio.wait_for(self.sent.get(), PATIENCE)

    async def event(self) -> tuple[str, str, Any]:
        """The next event: its id, its name, its data; retry and heartbeats are passed over."""
        while True:
            lines = (await self.message())["body"].decode().splitlines()
            fields = dict(line.split(": ", 1) for line in lines if line and not line.startswith(":"))
            if "event" in fields:
                return fields.get("id", ""), fields["event"], json.loads(fields["data"])

    async def end(self) -> None:
        await asyncio.wait_for(asyncio.shield(self.task), PATIENCE)


@asynccontextmanager
async def following(shop: FakeShop, query: str = "", **headers: str) -> AsyncIterator[Browser]:
    browser = Browser(shop, f"/orders/1/events{query}", {"cookie": f"session={BOB}", **headers})
    try:
        start = await browser.message()
        assert start["status"] == 200
        assert (b"content-type", b"text/event-stream; charset=utf-8") in start["headers"]
        yield browser
    finally:
        browser.left.set()
        await browser.end()


async def opened(shop: FakeShop, count: int) -> None:
    """Waits until so many streams were opened at the order service."""
    async with asyncio.timeout(PATIENCE):
        while len(shop.orders.streams) < count:  # noqa: ASYNC110 - the fake has no event to wait for
            await asyncio.sleep(0.01)


async def test_updates_are_sent_as_events_with_their_cursor_and_replica(shop: FakeShop) -> None:
    async with following(shop, "?after=3") as browser:
        await opened(shop, 1)
        shop.orders.streams[0].queue.put_nowait(shop.update(4, Status.SHIPPED))
        cursor, name, data = await browser.event()
    assert (cursor, name, data["status"], data["label"]) == ("4", "update", "shipped", "Shipped")
    assert data["via"] == "order-1"
    assert shop.orders.followed == [3]


async def test_a_browser_that_comes_back_resumes_after_the_last_event(shop: FakeShop) -> None:
    async with following(shop, "?after=3", **{"last-event-id": "7"}):
        await opened(shop, 1)
    assert shop.orders.followed == [7]


async def test_when_nothing_more_will_happen_the_browser_is_told_so_and_nobody_asks_again(
    shop: FakeShop,
) -> None:
    async with following(shop, "?after=3") as browser:
        await opened(shop, 1)
        shop.orders.streams[0].queue.put_nowait(shop.update(4, Status.CANCELLED))
        shop.orders.streams[0].queue.put_nowait(None)  # the order service ends the stream, and it is no error
        assert (await browser.event())[2]["status"] == "cancelled"
        assert (await browser.event())[1] == "end"
        await browser.end()
    assert shop.orders.followed == [3]


async def test_a_browser_that_does_not_know_the_end_waits_for_a_day(shop: FakeShop) -> None:
    async with following(shop, "?after=3") as browser:
        await opened(shop, 1)
        shop.orders.streams[0].queue.put_nowait(None)
        await browser.end()
        said = "".join([browser.sent.get_nowait()["body"].decode() for _ in range(browser.sent.qsize())])
    assert said.rindex("retry: 86400000") > said.index("retry: 1000")


@pytest.mark.parametrize("end", [ShopError(Problem.UNAVAILABLE), ShopError(Problem.TIMEOUT)])
async def test_when_the_replica_leaves_another_is_asked_from_the_same_place(
    shop: FakeShop, end: ShopError
) -> None:
    async with following(shop, "?after=3") as browser:
        await opened(shop, 1)
        shop.orders.streams[0].queue.put_nowait(shop.update(5))
        shop.orders.streams[0].queue.put_nowait(end)
        await opened(shop, 2)
        shop.orders.streams[1].queue.put_nowait(shop.update(6, Status.DELIVERED))
        assert [(await browser.event())[0] for _ in range(2)] == ["5", "6"]
    assert shop.orders.followed == [3, 5]


@pytest.mark.parametrize("problem", [Problem.LOGIN, Problem.FORBIDDEN, Problem.NOT_FOUND])
async def test_what_will_not_get_better_ends_the_stream_for_good(shop: FakeShop, problem: Problem) -> None:
    async with following(shop) as browser:
        await opened(shop, 1)
        shop.orders.streams[0].queue.put_nowait(ShopError(problem))
        assert (await browser.event())[1] == "gone"
        await browser.end()


async def test_a_stream_ends_when_the_process_drains(shop: FakeShop) -> None:
    async with following(shop) as browser:
        await opened(shop, 1)
        shop.closing.set()
        await browser.end()


async def test_nothing_is_left_running_when_the_browser_leaves(shop: FakeShop) -> None:
    before = asyncio.all_tasks()
    async with following(shop):
        await opened(shop, 1)
    assert asyncio.all_tasks() == before


async def test_without_a_session_the_browser_is_told_not_to_come_back(
    shop: FakeShop, browser: httpx.AsyncClient
) -> None:
    assert (await browser.get("/orders/1/events")).status_code == 204


async def test_streams_are_bounded(
    shop: FakeShop, bob: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.storefront.live.MAX_STREAMS", 1)
    async with following(shop):
        await opened(shop, 1)
        assert (await bob.get("/orders/1/events")).status_code == 429
    assert MAX_STREAMS == 500


async def test_a_stream_that_outlives_its_token_ends_so_that_the_browser_comes_back_and_is_renewed(
    shop: FakeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with following(shop, "?after=3") as browser:
        await opened(shop, 1)
        monkeypatch.setattr("services.storefront.live.time.time", lambda: FAR + 1.0)
        shop.orders.streams[0].queue.put_nowait(ShopError(Problem.LOGIN, "the token has expired"))
        await browser.end()
        rest = b"".join([browser.sent.get_nowait().get("body", b"") for _ in range(browser.sent.qsize())])
    assert b"gone" not in rest  # nothing that would keep the browser away


async def test_a_stream_whose_session_cannot_be_renewed_just_now_is_asked_for_again(shop: FakeShop) -> None:
    shop.accounts.fails = ShopError(Problem.UNAVAILABLE)
    async with shop.client() as client:
        cookie = f"session={jwt(2, 'bob', expires_at=1.0)}; refresh=refresh-bob"
        assert (await client.get("/orders/1/events", headers={"cookie": cookie})).status_code == 503
