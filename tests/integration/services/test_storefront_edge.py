"""The storefront's HTTP edge before real services: whatever is sent, the fault is never the shop's."""

import asyncio
import base64
import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.routing import Route

from services.storefront.domain import Category, Product
from tests.databases import Databases, Maker
from tests.integration.services import hostile
from tests.integration.services.webkit import SERVICES, Running, web_shop
from tests.unit.services.storefront.fakes import FakeShop

PATIENCE = 300.0
#: Every route of the application; a new one is fuzzed without anybody thinking of it.
ROUTES = sorted(
    {
        (route.path, method)
        for route in FakeShop([Product(1, "Book", "", 1999, 3, Category.BOOKS)]).app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
)


@pytest.fixture
def databases(new_databases: Maker) -> Databases:
    return new_databases(*SERVICES)


@pytest.fixture
async def shop(databases: Databases, tmp_path: Path) -> AsyncIterator[Running]:
    async with web_shop(databases, tmp_path) as running:
        yield running


async def visitor(shop: Running, name: str) -> hostile.Visitor:
    """Somebody who has logged in."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{shop.port}", trust_env=False, timeout=300
    ) as client:
        await client.get("/login")
        form = {"csrf": client.cookies["csrf"], "login": name, "password": f"{name}-password"}
        assert (await client.post("/login", data=form)).status_code == 303
        return hostile.Visitor(client.cookies["csrf"], client.cookies["session"], client.cookies["refresh"])


async def ask(port: int, method: bytes, target: bytes, headers: hostile.Headers, body: bytes = b"") -> int:
    """Sends a request as it is and returns the status of the answer."""
    lines = [method + b" " + target + b" HTTP/1.1", *(n + b": " + v for n, v in headers)]
    if body or method == b"POST":
        lines.append(b"content-length: %d" % len(body))
    lines.append(b"connection: close")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        status = await asyncio.wait_for(reader.readline(), PATIENCE)
        match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", status)
        assert match, status
        return int(match[1])
    finally:
        writer.close()


@pytest.mark.parametrize(("path", "method"), ROUTES)
async def test_no_request_whatever_is_answered_with_a_server_error(
    shop: Running, databases: Databases, path: str, method: str
) -> None:
    bob, alice = await visitor(shop, "bob"), await visitor(shop, "alice")
    loop = asyncio.get_running_loop()
    bodies = hostile.bodies(bob) if method == "POST" else st.just(b"")

    @settings(
        max_examples=databases.examples(60),
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(target=hostile.targets(path), headers=hostile.headers(bob, alice.session), body=bodies)
    def check(target: bytes, headers: hostile.Headers, body: bytes) -> None:
        asked = ask(shop.port, method.encode(), target, headers, body)
        status = asyncio.run_coroutine_threadsafe(asked, loop).result(PATIENCE * 2)
        assert status < 500, [line for line in shop.log.lines if line.get("error")][-1:]

    await asyncio.to_thread(check)


def jwt(payload: str, signature: str = "sig") -> str:
    """A token with any payload at all."""
    text = base64.urlsafe_b64encode(payload.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()
    return f"e30.{text}.{signature}"


def claims(**members: str) -> str:
    """The payload of a token, each member as JSON text."""
    known = {"sub": '"2"', "name": '"bob"', "roles": '["user"]', "exp": "4000000000", **members}
    return "{" + ",".join(f'"{name}":{value}' for name, value in known.items()) + "}"


TOKENS = {
    "a name with a lone surrogate": jwt(claims(name='"\\ud800"')),
    "a name that is CESU-8": jwt(claims(name='"\ud800"')),
    "a name that is a list": jwt(claims(name="[1]")),
    "a nested payload": jwt('{"a":' * 700 + "1" + "}" * 700),
    "a deeply nested payload": jwt("[" * 2900),
    "a signature that is not ASCII": jwt(claims(), "\xe9"),
    "a signature with a line break": jwt(claims(), "a%0d%0ab"),
    "an infinite subject": jwt(claims(sub="1e999")),
    "a huge subject": jwt(claims(sub='"99999999999999999999"')),
    "a subject of a thousand digits": jwt(claims(sub="9" * 1000)),
    "a negative subject": jwt(claims(sub='"-2"')),
    "a huge expiry": jwt(claims(exp="9" * 400)),
    "an infinite expiry": jwt(claims(exp="Infinity")),
    "no number as expiry": jwt(claims(exp="NaN")),
    "roles that are no list": jwt(claims(roles='{"a":1}')),
    "roles that are no text": jwt(claims(roles="[[]]")),
    "the same member twice": jwt('{"sub":"2","sub":[],"exp":4000000000}'),
    "NUL": jwt("\0"),
    "UTF-16": "e30." + base64.urlsafe_b64encode("{}".encode("utf-16")).decode().rstrip("=") + ".sig",
    "no claims": jwt("{}"),
    "four parts": jwt(claims()) + ".x",
    "a forged token": jwt(claims()),
    "too much": jwt(claims(name='"' + "x" * 6000 + '"')),
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS.keys())
async def test_a_malformed_token_is_unauthenticated_and_a_malformed_cookie_nobodys(
    shop: Running, token: str
) -> None:
    raw = token.encode("latin-1")
    bearer = ((b"host", b"shop.test"), (b"authorization", b"Bearer " + raw))
    for target in (b"/api/orders", b"/api/orders/1"):
        assert await ask(shop.port, b"GET", target, bearer) == 401
    order = (*bearer, (b"content-type", b"application/json"))
    body = b'{"items":[{"product_id":1,"quantity":1}],"shipping_address":{}}'
    assert await ask(shop.port, b"POST", b"/api/orders", order, body) == 401
    cookie = ((b"host", b"shop.test"), (b"cookie", b"session=" + raw))
    assert await ask(shop.port, b"GET", b"/", cookie) == 200
    assert await ask(shop.port, b"GET", b"/orders", cookie) == 303  # off to the log-in page


BODIES = {
    "a lone surrogate": b'{"items":[],"shipping_address":{"street":"\\ud800"}}',
    "a lone surrogate as a name": b'{"\\udfff":1}',
    "deep nesting": b'{"items":' * 3_000,
    "deep lists": b"[" * 30_000,
    "a number of 5,000 digits": b'{"items":' + b"9" * 5000 + b"}",
    "bytes that are not UTF-8": b'{"items":"\xff\xfe"}',
    "UTF-16": "{}".encode("utf-16"),
    "NUL": b"\0",
    "nothing": b"",
    "a list": b"[]",
    "an infinite quantity": b'{"items":[{"product_id":1,"quantity":1e999}],"shipping_address":{}}',
    "not a number": b'{"items":[{"product_id":NaN,"quantity":1}],"shipping_address":{}}',
    "a huge id": b'{"items":[{"product_id":99999999999,"quantity":1}],"shipping_address":{}}',
    "a NUL in an address": b'{"items":[],"shipping_address":{"street":"\\u0000"}}',
    "an address that is a list": b'{"items":[],"shipping_address":[]}',
    "a card that is a number": b'{"items":[],"shipping_address":{},"card":7}',
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_malformed_body_is_a_bad_request(shop: Running, body: bytes) -> None:
    bob = await visitor(shop, "bob")
    headers = (
        (b"host", b"shop.test"),
        (b"authorization", b"Bearer " + bob.session.encode()),
        (b"content-type", b"application/json"),
    )
    assert await ask(shop.port, b"POST", b"/api/orders", headers, body) == 400
    wrong = (*headers[:2], (b"content-type", b"text/plain"))
    assert await ask(shop.port, b"POST", b"/api/orders", wrong, body) == 400


@pytest.mark.parametrize("content_type", [b"text/plain", b"application/json", b"multipart/form-data", b"-"])
async def test_a_form_of_another_type_is_a_bad_request(shop: Running, content_type: bytes) -> None:
    headers = ((b"host", b"shop.test"), (b"content-type", content_type))
    assert await ask(shop.port, b"POST", b"/login", headers, b"csrf=x&login=bob") == 400


@pytest.mark.parametrize("digits", [11, 5000])
async def test_a_number_of_any_length_in_a_path_is_not_found(shop: Running, digits: int) -> None:
    number = b"9" * digits
    for target in (b"/products/%s", b"/orders/%s", b"/api/products/%s", b"/art/books/book/%s.svg"):
        assert await ask(shop.port, b"GET", target % number, ((b"host", b"shop.test"),)) == 404


async def test_a_stream_that_is_only_asked_for_its_header_ends(shop: Running) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", shop.port)
    bob = await visitor(shop, "bob")
    cookie = b"session=" + bob.session.encode()
    writer.write(
        b"HEAD /orders/1/events HTTP/1.1\r\nhost: x\r\ncookie: %s\r\nconnection: close\r\n\r\n" % cookie
    )
    assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 200 ")
    writer.close()
