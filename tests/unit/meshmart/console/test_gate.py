"""A console that other hosts can reach: who sees what."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from importlib.resources import files
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from grpcmesh.testing.clock import run_in_virtual_time
from meshmart.console.admins import COOKIE
from meshmart.console.changes import changing
from meshmart.console.gate import HEALTH, STREAM_CHECK, Gate
from meshmart.console.history import History
from meshmart.console.hub import Hub
from meshmart.console.login import login_routes
from meshmart.console.records import Records
from meshmart.console.web import console_app
from tests.unit.meshmart.console.test_admins import PASSWORD, PUBLIC, Site, log_in
from tools.manifests.policy import CONSOLE_METHODS

#: An address that is not of this host, as a port-forward or a node's address is not.
OWN = "http://192.0.2.7:8081"


@pytest.fixture
def site(tmp_path: Path) -> Site:
    made = Site(tmp_path / "console")
    hub = Hub()
    hub.publish(b'{"services":[]}')
    records = Records(made.log, made.events.append, lambda: 5.0)
    routes = [*login_routes(made.admins, records), *records.routes()]
    made.app = console_app(hub, History(), made.admins, asyncio.Event(), routes)
    return made


@pytest.fixture
async def page(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.browser(OWN, "192.0.2.1") as client:
        yield client


PATHS = ("/events", "/api/state", "/api/history?name=product", "/api/log", "/api/whatever")


async def test_without_a_session_there_is_the_log_in_page_and_nothing_else(page: httpx.AsyncClient) -> None:
    for path in PATHS:
        assert (await page.get(path)).status_code == 401, path
    start = await page.get("/")
    assert start.status_code == 401
    assert 'id="sign-in"' in start.text
    assert "www-authenticate" not in start.headers
    for file in re.findall(r'"(/static/[^"]+)"', start.text):
        assert (await page.get(file)).status_code == 200, file


async def test_an_admin_sees_everything_until_the_log_out(page: httpx.AsyncClient) -> None:
    assert (await log_in(page)).status_code == 200
    assert 'id="map"' in (await page.get("/")).text
    assert (await page.get("/api/state")).json() == {"services": []}
    assert (await page.post("/api/logout", json={})).status_code == 200
    assert (await page.get("/api/state")).status_code == 401
    assert 'id="sign-in"' in (await page.get("/")).text


async def test_somebody_who_is_no_admin_sees_nothing(page: httpx.AsyncClient) -> None:
    assert (await log_in(page, "bob")).status_code == 403
    assert (await log_in(page, "alice", "guess")).status_code == 401
    assert (await page.get("/api/state")).status_code == 401


async def test_behind_a_proxy_with_https_the_cookie_is_secure(site: Site) -> None:
    async with site.browser(PUBLIC, "192.0.2.1") as page:
        cookie = (await log_in(page)).headers["set-cookie"]
        assert cookie.startswith("__Host-")
        assert "; Secure" in cookie
        assert (await page.get("/api/state")).status_code == 200


async def test_a_host_that_nobody_configured_is_refused(site: Site) -> None:
    async with site.browser("http://console.attacker.example", "192.0.2.1") as page:
        for path in ("/", "/api/state", "/static/console.js"):
            assert (await page.get(path)).status_code == 403, path


async def test_a_page_of_another_origin_is_refused_with_the_session_of_an_admin(
    page: httpx.AsyncClient,
) -> None:
    await log_in(page)
    shop = {"origin": "http://192.0.2.7:8080", "sec-fetch-site": "same-site"}
    assert (await page.get("/api/state", headers=shop)).status_code == 403
    assert (await page.get("/events", headers=shop)).status_code == 403


async def test_a_console_that_only_shows_takes_no_switch_from_an_admin(
    site: Site, page: httpx.AsyncClient
) -> None:
    site.app.router.routes.append(changing("/api/act", site.admins, site.act))
    await log_in(page)
    assert (await page.get("/api/session")).json() == {"name": "alice", "switches": True}
    assert (await page.post("/api/act", json={})).status_code == 200
    site.admins.may_change = False
    refused = await page.post("/api/act", json={})
    assert (refused.status_code, "only shows" in refused.json()["error"]) == (403, True)
    assert len(site.done) == 1
    assert (await page.get("/api/session")).json() == {"name": "alice", "switches": False}


async def test_the_health_needs_no_session_and_says_nothing(page: httpx.AsyncClient) -> None:
    answer = await page.get(HEALTH, headers={"host": "10.244.0.9:8081"})
    assert (answer.status_code, answer.text) == (200, "ok\n")


async def test_every_answer_has_the_headers(page: httpx.AsyncClient) -> None:
    for path in ("/", "/api/state", HEALTH):
        assert "script-src 'self'" in (await page.get(path)).headers["content-security-policy"], path


async def test_the_answer_of_a_route_that_failed_has_the_headers_too(site: Site) -> None:
    async def broken(_: Request) -> Response:
        raise ZeroDivisionError

    site.app.router.routes.append(Route("/static/broken/x", broken))
    transport = httpx.ASGITransport(site.app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=OWN) as page:
        answer = await page.get("/static/broken/x")
    assert answer.status_code == 500
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"


def test_an_open_stream_ends_with_the_session_of_its_viewer(tmp_path: Path) -> None:
    async def test() -> None:
        site = Site(tmp_path)
        ended = asyncio.Event()

        async def stream(scope: object, receive: Callable[[], object], send: object) -> None:
            while (await receive())["type"] != "http.disconnect":  # type: ignore[index,misc]
                pass
            ended.set()

        headers = [(b"host", OWN.removeprefix("http://").encode())]
        scope = {"type": "http", "method": "GET", "path": "/events", "query_string": b"", "headers": headers}
        begun = await site.admins.log_in(Request(scope), "alice", PASSWORD)
        scope["headers"] = [*headers, (b"cookie", f"{COOKIE}={begun.number}".encode())]

        async def silence() -> dict[str, object]:
            await asyncio.get_running_loop().create_future()
            return {}

        async def nobody(_: object) -> None:
            return

        gate = Gate(stream, site.admins, lambda: None)  # type: ignore[arg-type,return-value]
        streaming = asyncio.create_task(gate(scope, silence, nobody))  # type: ignore[arg-type]
        await asyncio.sleep(3 * STREAM_CHECK)
        assert not streaming.done()
        site.now += 9 * 3600
        await asyncio.sleep(2 * STREAM_CHECK)
        assert ended.is_set()
        await streaming

    run_in_virtual_time(test())


def test_the_policy_lets_the_console_call_what_its_code_calls() -> None:
    source = (files("meshmart.console") / "accounts.py").read_text()
    called = {
        f"ecommerce.UserService/{name}" for name in re.findall(r"stub(?:\(.*\))?\.([A-Z]\w+)\(", source)
    }
    assert called == set(CONSOLE_METHODS)
