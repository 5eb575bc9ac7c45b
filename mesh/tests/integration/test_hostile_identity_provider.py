"""Identity providers that answer wrongly, slowly, endlessly or not at all; the keys stay."""

import asyncio
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from grpcmesh.auth import DiscoveredKeys, JwksKeys, KeyCause, KeysError, https
from grpcmesh.auth.lookup import MAX_LOOKUPS, look_up
from tests.integration.idp import DISCOVERY, KEYS, PATIENCE, Provider, answer, provider, verifier
from tests.pki import Authority
from tests.ports import free_port


@pytest.fixture
async def idp(tmp_path: Path) -> AsyncIterator[Provider]:
    async with provider(tmp_path) as made:
        yield made


async def forever(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client leaves


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{")
    await reader.read()


async def _sent(writer: asyncio.StreamWriter) -> None:
    await writer.drain()
    # `drain` may return without suspending. If the client has left, the event loop must run to notice it.
    await asyncio.sleep(0)


async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"4000\r\n" + b" " * 0x4000 + b"\r\n")
        await _sent(writer)


async def endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while not writer.is_closing():
        writer.write(b"x: " + b"y" * 1000 + b"\r\n")
        await _sent(writer)


async def leaving(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None: ...


HOSTILE: dict[str, tuple[Any, KeyCause]] = {
    "redirect to http": (answer("", "302 Found", location="http://localhost/"), KeyCause.REDIRECT),
    "redirect to https": (answer("", "307 Moved", location="https://localhost/"), KeyCause.REDIRECT),
    "redirect to a terminal": (answer("", "301 Moved", location="\x1b[31m" * 99), KeyCause.REDIRECT),
    "an error": (answer("oops", "500 Internal Server Error"), KeyCause.STATUS),
    "not there": (answer("", "404 Not Found"), KeyCause.STATUS),
    "too large": (answer(b" " * (https.MAX_BODY + 1)), KeyCause.TOO_LARGE),
    "endless": (endless, KeyCause.TOO_LARGE),
    "an endless head": (endless_head, KeyCause.NOT_HTTP),
    "compressed": (answer(b"\x1f\x8b", content_encoding="gzip"), KeyCause.NOT_HTTP),
    "cut short": (b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{}", KeyCause.NOT_HTTP),
    "gone": (leaving, KeyCause.NOT_HTTP),
    "not HTTP": (b"SSH-2.0-OpenSSH_9\r\n\r\n", KeyCause.NOT_HTTP),
    "two lengths": (answer("{}", content_length="1\r\ncontent-length: 2"), KeyCause.NOT_HTTP),
    "a page": (answer("<html>"), KeyCause.NOT_JSON),
    "no keys": (answer("{}"), KeyCause.NOT_KEYS),
    "symmetric keys": (answer('{"keys": [{"kty": "oct", "k": "AAAA", "kid": "r1"}]}'), KeyCause.NOT_KEYS),
}  # fmt: skip


@pytest.mark.parametrize(("given", "cause"), HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_answer_costs_a_log_line_and_nothing_else(
    idp: Provider, given: Any, cause: KeyCause
) -> None:
    made = verifier(idp)
    assert await made.refresh()
    idp.answers[KEYS] = given
    with pytest.raises(KeysError) as e:
        await JwksKeys(idp.base + KEYS, ca_file=idp.ca_file, timeout=PATIENCE).fetch()
    assert e.value.cause == cause
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 500
    assert not await made.refresh()
    assert made.verify(idp.token()).subject == "f81d4fae"


@pytest.mark.parametrize("handler", [forever, dripping])
async def test_a_slow_answer_ends_in_time(idp: Provider, handler: Any) -> None:
    idp.answers[KEYS] = handler
    with pytest.raises(KeysError) as e:
        await JwksKeys(idp.base + KEYS, ca_file=idp.ca_file, timeout=1.0).fetch()
    assert e.value.cause == KeyCause.TIMEOUT


async def test_a_discovery_document_cannot_lead_elsewhere(idp: Provider) -> None:
    source = DiscoveredKeys(idp.issuer, ca_file=idp.ca_file, timeout=PATIENCE)
    for document, cause in (
        ({"issuer": "https://evil.example", "jwks_uri": idp.base + KEYS}, KeyCause.ISSUER_MISMATCH),
        ({"issuer": idp.issuer, "jwks_uri": f"http://localhost:{idp.port}{KEYS}"}, KeyCause.NOT_HTTPS),
        ({"issuer": idp.issuer, "jwks_uri": "file:///etc/passwd"}, KeyCause.NOT_HTTPS),
        ({"issuer": idp.issuer, "jwks_uri": "https://a:b@localhost/"}, KeyCause.NOT_HTTPS),
        ({"issuer": idp.issuer}, KeyCause.NOT_KEYS),
    ):
        idp.answers[DISCOVERY] = answer(json.dumps(document))
        with pytest.raises(KeysError) as e:
            await source.fetch()
        assert e.value.cause == cause
    assert KEYS not in idp.asked


async def test_keys_that_have_moved_are_discovered_again(idp: Provider) -> None:
    source = DiscoveredKeys(idp.issuer, ca_file=idp.ca_file, timeout=PATIENCE)
    await source.fetch()
    await source.fetch()
    assert idp.asked == [DISCOVERY, KEYS, KEYS]
    moved = idp.good(KEYS)
    idp.answers = {
        KEYS: answer("", "410 Gone"),
        "/new": moved,
        DISCOVERY: answer(json.dumps({"issuer": idp.issuer, "jwks_uri": f"{idp.base}/new"})),
    }
    with pytest.raises(KeysError):
        await source.fetch()
    assert set(await source.fetch()) == {"r1"}


async def test_the_servers_certificate_is_verified(idp: Provider, tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.pem"
    foreign.write_bytes(Authority("foreign").pem)
    (tmp_path / "named").mkdir()
    async with provider(tmp_path / "named", names=("elsewhere",)) as named:
        for url, ca_file in ((idp.base, foreign), (idp.base, None), (named.base, named.ca_file)):
            with pytest.raises(KeysError, match="the TLS certificate is not accepted") as e:
                await JwksKeys(url + KEYS, ca_file=ca_file, timeout=PATIENCE).fetch()
            assert e.value.cause == KeyCause.UNTRUSTED
        assert not named.asked
    assert not idp.asked


async def test_a_server_without_tls_a_closed_port_and_an_unknown_name(
    idp: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def cause(port: int) -> KeyCause:
        with pytest.raises(KeysError) as e:
            await JwksKeys(f"https://localhost:{port}/", ca_file=idp.ca_file, timeout=PATIENCE).fetch()
        return e.value.cause

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(plain, "127.0.0.1", 0)
    async with server:
        assert await cause(server.sockets[0].getsockname()[1]) == KeyCause.UNTRUSTED
    assert await cause(free_port()) == KeyCause.UNREACHABLE

    def unknown(*args: Any, **more: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert await cause(443) == KeyCause.NAME_UNKNOWN


async def test_lookups_that_hang_hold_nothing_but_their_own_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    answered = threading.Event()

    def hang(*args: Any, **more: Any) -> Any:
        answered.wait(PATIENCE)
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    hanging = [asyncio.create_task(look_up("id.example", 443)) for _ in range(MAX_LOOKUPS)]
    await asyncio.sleep(0)  # each has begun
    try:
        with pytest.raises(KeysError, match="lookups of names hang") as e:
            await JwksKeys("https://id.example/?key=s3cret", timeout=PATIENCE).fetch()
        assert "s3cret" not in str(e.value)
        own = [thread for thread in threading.enumerate() if thread.name.startswith("lookup of an identity")]
        assert len(own) >= MAX_LOOKUPS
        assert all(thread.daemon for thread in own)  # the end of the process does not wait for them
    finally:
        answered.set()
    assert all(isinstance(r, OSError) for r in await asyncio.gather(*hanging, return_exceptions=True))


async def test_an_unreadable_ca_file_is_told(idp: Provider, tmp_path: Path) -> None:
    for path in (tmp_path / "none.pem", tmp_path / "empty.pem"):
        if path.name == "empty.pem":
            path.write_text("nothing")
        with pytest.raises(
            KeysError, match=rf"^https://localhost.*: MESH_AUTH_CA_FILE={path}: (No such file|has no CA)"
        ):
            await JwksKeys(idp.base + KEYS, ca_file=path, timeout=PATIENCE).fetch()
    assert ssl.OPENSSL_VERSION_INFO >= (1, 1, 1)
