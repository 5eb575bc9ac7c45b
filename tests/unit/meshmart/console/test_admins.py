"""Log-in at the console, and the checks of requests that change something."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response

from meshmart.console.accounts import Account, BusyError, UnansweredError
from meshmart.console.action_log import ActionLog
from meshmart.console.admins import ASK_AGAIN, AT_ONCE, CHECK_EVERY, COOKIE, SECURE_COOKIE, Admins
from meshmart.console.changes import MAX_BODY, changing
from meshmart.console.login import login_routes
from meshmart.console.model import Event
from meshmart.console.origins import Origins
from meshmart.console.records import Records
from services.user.throttle import FREE

OWN = "http://127.0.0.1:8081"
PUBLIC = "https://console.example.org"
PASSWORD = "correct horse"


class FakeAccounts:
    """Users with one password. `secrets` are the log-ins that are good."""

    def __init__(self) -> None:
        self.secrets: set[str] = set()
        self.renewed = self.tried = 0
        self.error: Exception | None = None
        self.wait: asyncio.Event | None = None

    async def log_in(self, name: str, password: str) -> Account | None:
        self.tried += 1
        if self.wait:
            await self.wait.wait()
        if self.error:
            raise self.error
        if password != PASSWORD or name not in ("alice", "bob"):
            return None
        self.secrets.add(f"{name}-{self.tried}")
        return Account(name, name == "alice", f"{name}-{self.tried}")

    async def renew(self, secret: str) -> str | None:
        if self.error:
            raise self.error
        self.renewed += 1
        if secret not in self.secrets:
            return None
        self.secrets.remove(secret)
        self.secrets.add(f"{secret}+")
        return f"{secret}+"

    async def log_out(self, secret: str) -> None:
        self.secrets.discard(secret)


class Site:
    """A console with one switch."""

    def __init__(self, directory: Path) -> None:
        self.accounts = FakeAccounts()
        self.now = 1000.0
        self.done: list[tuple[str, Mapping[str, Any]]] = []
        self.events: list[Event] = []
        self.log = ActionLog(directory)
        self.admins = Admins(self.accounts, Origins(PUBLIC), lambda: self.now)
        records = Records(self.log, self.events.append, lambda: 5.0)
        routes = [
            *login_routes(self.admins, records),
            *records.routes(),
            changing("/api/act", self.admins, self.act),
        ]
        self.app = Starlette(routes=routes)

    async def act(self, actor: str, wanted: Mapping[str, Any]) -> Response:
        self.done.append((actor, wanted))
        return JSONResponse({"done": True})

    def browser(self, origin: str = OWN, peer: str = "127.0.0.1") -> httpx.AsyncClient:
        """A client that behaves as the console's page does in a browser."""
        headers = {"origin": origin, "sec-fetch-site": "same-origin"}
        transport = httpx.ASGITransport(self.app, client=(peer, 1))
        return httpx.AsyncClient(transport=transport, base_url=origin, headers=headers)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path / "console")


@pytest.fixture
async def page(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    async with site.browser() as client:
        yield client


async def log_in(page: httpx.AsyncClient, name: str = "alice", password: str = PASSWORD) -> httpx.Response:
    return await page.post("/api/login", json={"name": name, "password": password})


async def test_an_admin_logs_in_acts_and_logs_out(site: Site, page: httpx.AsyncClient) -> None:
    assert (await page.post("/api/act", json={})).status_code == 401
    answer = await log_in(page)
    assert answer.json() == {"name": "alice"}
    assert (await page.get("/api/session")).json()["name"] == "alice"
    assert (await page.post("/api/act", json={"x": 1})).status_code == 200
    assert site.done == [("alice", {"x": 1})]
    cookie = page.cookies[COOKIE]
    assert (await page.post("/api/logout", json={})).json() == {"name": ""}
    assert (await page.get("/api/session")).json()["name"] == ""
    page.cookies.set(COOKIE, cookie)  # a copy of the cookie is worth nothing now
    assert (await page.post("/api/act", json={})).status_code == 401
    assert site.accounts.secrets == set()
    assert [e.text for e in site.events] == ["alice logged in", "alice logged out"]
    entries = (await page.get("/api/log", params={"most": "1"})).json()["entries"]
    assert [(e["who"], e["action"], e["outcome"]) for e in entries] == [("alice", "log-out", "done")]


async def test_the_cookie_is_for_this_origin_and_no_script(site: Site, page: httpx.AsyncClient) -> None:
    cookie = (await log_in(page)).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    assert {part.strip().lower() for part in cookie.split(";")[1:]} == {
        "httponly",
        "path=/",
        "samesite=strict",
    }
    async with site.browser(PUBLIC) as behind_a_proxy:
        cookie = (await log_in(behind_a_proxy)).headers["set-cookie"]
        assert cookie.startswith(f"{SECURE_COOKIE}=")
        assert "secure" in {part.strip().lower() for part in cookie.split(";")}
        # Over https, a cookie that some http page could have set does not count.
        value = behind_a_proxy.cookies[SECURE_COOKIE]
        behind_a_proxy.cookies.clear()
        behind_a_proxy.cookies.set(COOKIE, value)
        assert (await behind_a_proxy.post("/api/act", json={})).status_code == 401


async def test_who_is_no_admin_is_refused_and_is_logged_in_nowhere(
    site: Site, page: httpx.AsyncClient
) -> None:
    refused = await log_in(page, "bob")
    assert refused.status_code == 403
    assert refused.json() == {"error": "bob is not an admin of the shop"}
    assert "set-cookie" not in refused.headers
    assert site.accounts.secrets == set()
    assert (await page.post("/api/act", json={})).status_code == 401


async def test_a_new_log_in_ends_the_session_before_it(site: Site, page: httpx.AsyncClient) -> None:
    await log_in(page)
    old = page.cookies[COOKIE]
    await log_in(page)
    assert page.cookies[COOKIE] != old
    assert len(site.accounts.secrets) == 1
    async with site.browser() as other:
        other.cookies.set(COOKIE, old)
        assert (await other.post("/api/act", json={})).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1:8080"}, 403),  # the shop
        ({"origin": "http://localhost:8081"}, 403),
        ({"origin": "https://127.0.0.1:8081"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": None}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "none"}, 403),
        ({"host": "evil.example", "origin": "http://evil.example"}, 403),  # DNS rebinding
        ({"host": "127.0.0.1.nip.io:8081", "origin": "http://127.0.0.1.nip.io:8081"}, 403),
        ({"host": "console.example.org", "origin": "http://console.example.org"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": None}, 415),
    ],
)
@pytest.mark.parametrize("path", ["/api/act", "/api/login", "/api/logout"])
async def test_pages_of_other_origins_change_nothing(
    site: Site, page: httpx.AsyncClient, path: str, headers: dict[str, str | None], status: int
) -> None:
    await log_in(page)
    request = page.build_request("POST", path, json={"name": "alice", "password": PASSWORD})
    for name, value in headers.items():
        if value is None:
            del request.headers[name]
        else:
            request.headers[name] = value
    assert (await page.send(request)).status_code == status
    assert site.done == []
    assert (await page.get("/api/session")).json()["name"] == "alice"


async def test_a_browser_without_fetch_metadata_is_known_by_its_origin(
    site: Site, page: httpx.AsyncClient
) -> None:
    del page.headers["sec-fetch-site"]
    await log_in(page)
    assert (await page.post("/api/act", json={})).status_code == 200


async def test_get_changes_nothing(site: Site, page: httpx.AsyncClient) -> None:
    await log_in(page)
    for path in ("/api/act", "/api/login", "/api/logout"):
        assert (await page.get(path)).status_code == 405
    assert site.done == []


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{", 400),
        (b"\xff", 400),
        (b"[" * 5000, 400),
        (b'"' + b"x" * MAX_BODY + b'"', 413),
    ],
)
async def test_a_body_that_is_no_object_is_refused(
    site: Site, page: httpx.AsyncClient, content: bytes, status: int
) -> None:
    await log_in(page)
    headers = {"content-type": "application/json"}
    for path in ("/api/act", "/api/login"):
        assert (await page.post(path, content=content, headers=headers)).status_code == status
    assert site.done == []


@pytest.mark.parametrize(
    "wanted",
    [
        {},
        {"name": "alice"},
        {"name": ["alice"], "password": PASSWORD},
        {"name": "\ud800", "password": PASSWORD},
        {"name": "x" * 2000, "password": PASSWORD},
        {"name": "alice", "password": ""},
    ],
)
async def test_a_log_in_needs_a_name_and_a_password(
    site: Site, page: httpx.AsyncClient, wanted: dict[str, Any]
) -> None:
    headers = {"content-type": "application/json"}
    answer = await page.post("/api/login", content=json.dumps(wanted), headers=headers)
    assert answer.status_code == 400
    assert site.accounts.tried == 0


async def test_guesses_are_throttled_and_lock_nobody_else_out(site: Site, page: httpx.AsyncClient) -> None:
    for _ in range(FREE):
        assert (await log_in(page, password="wrong")).status_code == 401
    refused = await log_in(page)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) == 30
    assert site.accounts.tried == FREE
    async with site.browser(peer="192.0.2.7") as elsewhere:
        assert (await log_in(elsewhere)).status_code == 200
    site.now += 30
    assert (await log_in(page)).status_code == 200


async def test_guesses_at_once_are_throttled_as_those_in_turn(site: Site, page: httpx.AsyncClient) -> None:
    site.accounts.wait = asyncio.Event()
    tries = [asyncio.create_task(log_in(page, password="wrong")) for _ in range(AT_ONCE + 3)]
    first = asyncio.as_completed(tries)
    for _ in range(3):  # those beyond the limit are answered while the others are tried
        assert (await next(first)).status_code == 429
    assert site.accounts.tried == AT_ONCE
    site.accounts.wait.set()
    statuses = [answer.status_code for answer in await asyncio.gather(*tries)]
    assert statuses.count(429) == 3
    assert statuses.count(401) == AT_ONCE


@pytest.mark.parametrize(("error", "status"), [(UnansweredError("UNAVAILABLE"), 503), (BusyError(), 429)])
async def test_a_user_service_that_does_not_answer_counts_as_no_guess(
    site: Site, page: httpx.AsyncClient, error: Exception, status: int
) -> None:
    site.accounts.error = error
    for _ in range(FREE * 3):
        assert (await log_in(page)).status_code == status
    site.accounts.error = None
    assert (await log_in(page)).status_code == 200


async def test_a_log_in_that_the_user_service_ended_ends_here_within_a_minute(
    site: Site, page: httpx.AsyncClient
) -> None:
    await log_in(page)
    assert (await page.post("/api/act", json={})).status_code == 200
    assert site.accounts.renewed == 0
    site.now += CHECK_EVERY
    assert (await page.post("/api/act", json={})).status_code == 200
    assert site.accounts.renewed == 1
    site.accounts.secrets.clear()  # alice is suspended
    site.now += CHECK_EVERY
    assert (await page.post("/api/act", json={})).status_code == 401
    assert len(site.done) == 2


async def test_an_admin_who_broke_the_user_service_can_put_it_back(
    site: Site, page: httpx.AsyncClient
) -> None:
    await log_in(page)
    site.now += CHECK_EVERY
    site.accounts.error = UnansweredError("UNAVAILABLE")
    assert (await page.post("/api/act", json={})).status_code == 200
    site.accounts.error = None
    assert (await page.post("/api/act", json={})).status_code == 200
    assert site.accounts.renewed == 0  # it is not asked for every request while it is broken
    site.now += ASK_AGAIN
    assert (await page.post("/api/act", json={})).status_code == 200
    assert site.accounts.renewed == 1


async def test_a_user_service_that_hangs_for_one_admin_does_not_hold_up_another(
    site: Site, page: httpx.AsyncClient
) -> None:
    await log_in(page)
    site.now += CHECK_EVERY
    async with site.browser() as other:
        await log_in(other)
        asked, renew = asyncio.Event(), site.accounts.renew

        async def hang(secret: str) -> str | None:
            asked.set()
            await asyncio.get_running_loop().create_future()
            return await renew(secret)

        site.accounts.renew = hang  # type: ignore[method-assign]
        hanging = asyncio.create_task(page.post("/api/act", json={}))
        await asked.wait()
        async with asyncio.timeout(60):
            assert (await other.post("/api/act", json={})).status_code == 200
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)


async def test_two_requests_at_once_use_a_refresh_token_once(site: Site, page: httpx.AsyncClient) -> None:
    await log_in(page)
    site.now += CHECK_EVERY
    answers = await asyncio.gather(*(page.post("/api/act", json={}) for _ in range(5)))
    assert {answer.status_code for answer in answers} == {200}
    assert site.accounts.renewed == 1


async def test_no_password_is_written_anywhere(
    site: Site, page: httpx.AsyncClient, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    await log_in(page)
    await log_in(page, password=f"{PASSWORD}!")
    written = (tmp_path / "console" / "actions.jsonl").read_bytes()
    assert b"alice" in written
    for text in (caplog.text, repr(site.events), written.decode()):
        assert PASSWORD not in text


@pytest.mark.parametrize("origin", ["console.example.org", "https://x/", "ftp://x", "https://", "null"])
def test_an_origin_that_is_none_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Origins(origin)


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("[::1]:8081", "http://[::1]:8081"),
        ("localhost", "http://localhost"),
        ("CONSOLE.example.org", PUBLIC),
        ("console.example.org:80", None),
        ("evil.example", None),
        ("", None),
    ],
)
def test_the_consoles_own_origin_goes_by_its_host(host: str, origin: str | None) -> None:
    assert Origins(PUBLIC).of(host) == origin
