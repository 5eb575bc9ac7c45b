"""Access control of the admin port: which clients may see which pages."""

import base64
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from grpcmesh.admin import admin_app
from grpcmesh.admin.access import Access, AccessError, is_loopback
from grpcmesh.config import AdminConfig

ELSEWHERE = "10.0.0.7"


def client(access: Access, peer: str = "127.0.0.1", host: str = "127.0.0.1:9090") -> httpx.AsyncClient:
    app = admin_app(CollectorRegistry(), lambda: {"service": "x"}, access)
    transport = httpx.ASGITransport(app, client=(peer, 40000))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{host}")


async def test_who_may_not_see_the_page_may_not_see_the_settings(tmp_path: Path) -> None:
    settings = {"": [{"name": "MESH_SERVICE", "value": "x", "source": "default"}]}
    access = Access(AdminConfig("0.0.0.0:9090", metrics_only=True))
    for peer, status in (("127.0.0.1", 200), (ELSEWHERE, 403)):
        app = admin_app(CollectorRegistry(), dict, access, lambda: settings)
        transport = httpx.ASGITransport(app, client=(peer, 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:9090") as c:
            assert (await c.get("/settings.json")).status_code == status


async def statuses(access: Access, *, headers: Any = None, **kwargs: Any) -> list[int]:
    paths = ("/metrics", "/state.json", "/")
    async with client(access, **kwargs) as c:
        return [(await c.get(path, headers=headers)).status_code for path in paths]


@pytest.mark.parametrize(
    "address", ["0.0.0.0:9090", "[::]:9090", "10.1.2.3:9090", "pod.example:9090", ":9090"]
)
def test_an_address_that_other_hosts_reach_needs_a_token_or_a_decision(address: str, tmp_path: Path) -> None:
    with pytest.raises(AccessError, match="MESH_ADMIN_TOKEN_FILE"):
        Access(AdminConfig(address))
    Access(AdminConfig(address, metrics_only=True))
    Access(AdminConfig(address, token_file=tmp_path / "token"))


@pytest.mark.parametrize("address", ["127.0.0.1:9090", "127.0.9.1:0", "[::1]:9090", "localhost:9090"])
def test_loopback_needs_none(address: str) -> None:
    Access(AdminConfig(address))


@pytest.mark.parametrize(
    ("peer", "host", "page"),
    [
        ("127.0.0.1", "127.0.0.1:9090", 200),
        ("127.0.0.1", "localhost:9090", 200),
        ("::1", "[::1]:9090", 200),
        ("::ffff:127.0.0.1", "127.0.9.1", 200),
        ("127.0.0.1", "rebound.example:9090", 403),
        (ELSEWHERE, "10.0.0.1:9090", 403),
        (ELSEWHERE, "localhost", 403),
        ("", "localhost", 403),
    ],
)
async def test_without_a_token_the_page_is_for_callers_on_loopback(peer: str, host: str, page: int) -> None:
    access = Access(AdminConfig("0.0.0.0:9090", metrics_only=True))
    assert await statuses(access, peer=peer, host=host) == [200, page, page]


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"me:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "page"),
    [
        ("Bearer s3cret", 200),
        ("bearer s3cret", 200),
        (basic("s3cret"), 200),
        ("Bearer s3cre", 401),
        ("Bearer s3crets", 401),
        ("Bearer ", 401),
        ("Bearer", 401),
        ("s3cret", 401),
        ("Basic s3cret", 401),
        ("Basic \xff", 401),
        (basic(""), 401),
        (basic("other"), 401),
        ("", 401),
    ],
)
async def test_with_a_token_the_page_is_for_those_who_present_it(
    tmp_path: Path, authorization: str, page: int
) -> None:
    (tmp_path / "token").write_text("s3cret\n")
    access = Access(AdminConfig("0.0.0.0:9090", token_file=tmp_path / "token"))
    headers = {"authorization": authorization.encode("latin-1")} if authorization else {}
    assert await statuses(access, peer=ELSEWHERE, headers=headers) == [200, page, page]
    strict = Access(AdminConfig("0.0.0.0:9090", token_file=tmp_path / "token", metrics_token=True))
    assert await statuses(strict, peer=ELSEWHERE, headers=headers) == [page] * 3


async def test_a_new_token_holds_at_once_and_none_lets_nobody_in(tmp_path: Path) -> None:
    file = tmp_path / "token"
    access = Access(AdminConfig("127.0.0.1:9090", token_file=file))
    for content in (None, b"", b"\n", b"\xff"):
        if content is not None:
            file.write_bytes(content)
        for given in ("", "Bearer ", "Bearer \ufffd".encode().decode("latin-1")):
            assert await statuses(access, headers={"authorization": given.encode("latin-1")}) == [
                200,
                401,
                401,
            ]
    file.write_text("new")
    assert await statuses(access, headers={"authorization": "Bearer new"}) == [200, 200, 200]


def test_names_are_no_loopback() -> None:
    assert not any(map(is_loopback, ("", "0.0.0.0", "::", "127.0.0.1.example", "loopback", "10.0.0.1")))


@pytest.mark.parametrize("content", [None, b"", b" \n", b"\xff\xfe"])
def test_a_token_file_without_a_token_is_told_at_start(
    tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "token"
    if content is not None:
        file.write_bytes(content)
    Access(AdminConfig("0.0.0.0:9090", token_file=file))
    [record] = caplog.records
    assert f"MESH_ADMIN_TOKEN_FILE={file} has no token" in record.getMessage()
    caplog.clear()
    file.write_text("secret\n")
    Access(AdminConfig("0.0.0.0:9090", token_file=file))
    assert not caplog.records
