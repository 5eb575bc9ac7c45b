"""Strategies for HTTP requests that mean no good: bytes, tokens, cookies, forms and JSON."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_from_bytes, urlencode

from hypothesis import strategies as st

Headers = tuple[tuple[bytes, bytes], ...]

#: JSON texts that parsers, numbers and encodings trip over.
_NUMBERS = ("0", "1", "-1", "2147483648", "1e999", "-1e999", "1e400", "NaN", "Infinity", "9" * 5000, "1.5")
_TEXTS = ('"\\ud800"', '"\\udfff\\ud800"', '"\\u0000"', '"é"', '""', '"a\\nb\\r\\nc"', '"<b>"', '"alice"')
_OTHERS = ("null", "true", "[]", "{}", '["user"]', '{"a":1}', "[" * 3000 + "]" * 3000, '[["\\ud800"]]')
JSON_VALUES = st.sampled_from(_NUMBERS + _TEXTS + _OTHERS)
#: Whole documents that are no object, or none at all.
DOCUMENTS = st.sampled_from(
    [
        b"",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"\x00",
        b"{",
        b"[" * 20_000,
        b'{"a":' * 6_000,
        b'{"items":1,"items":[]}',
        b'"\\ud800"',
        b"9" * 5000,
        b"1e999",
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
    ]
)
_BYTES = st.one_of(
    st.sampled_from(
        [b"", b"%00", b"%ff", b"%ed%a0%80", b"%0d%0aset-cookie:a=b", b"%", b"..", b"%2e%2e%2f", b"a" * 3000]
    ),
    st.binary(max_size=12).map(lambda raw: quote_from_bytes(raw, safe="").encode()),
)
_NUMERALS = st.sampled_from([b"0", b"1", b"2", b"7", b"-1", b"2147483648", b"9" * 25, b"9" * 5000, b"1e9"])
#: Header values: what h11 lets through (RFC 9110, 5.5), obs-text included.
_HEADER = st.one_of(
    st.sampled_from([b"", b"\xff\xfe", b"[", b"http://[", b"[::1", b"1, 2", b"a" * 5000, b"%00", b"=;,"]),
    st.binary(max_size=12).map(lambda raw: bytes(b for b in raw if b > 0x20 and b != 0x7F)),
)


def _base64(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode("utf-8", "surrogatepass")).rstrip(b"=").decode()


@st.composite
def claims(draw: st.DrawFn) -> str:
    """A token's payload: the members that the shop reads, each with any JSON at all."""
    members = {"sub": '"2"', "name": '"bob"', "roles": '["user"]', "exp": "4000000000"}
    for name in draw(st.sets(st.sampled_from(sorted(members)))):
        members[name] = draw(JSON_VALUES)
    return "{" + ",".join(f'"{name}":{value}' for name, value in members.items()) + "}"


@st.composite
def tokens(draw: st.DrawFn, good: Sequence[str]) -> bytes:
    """A token: good, tampered with, or none at all."""
    payload = draw(st.one_of(claims(), JSON_VALUES, st.just('{"a":' * 6_000)))
    signature = draw(st.sampled_from(["sig", "", "é", "\xff", "a b", "=", "s" * 5000]))
    header = draw(st.sampled_from(["e30", _base64('{"alg":"none"}'), _base64("[" * 9_000), "", "é"]))
    made = f"{header}.{_base64(payload)}.{signature}".encode("latin-1")
    whole = [token.encode() for token in good]
    spoilt = [token.rpartition(b".")[0] + b".\xe9" for token in whole]
    return draw(st.sampled_from([*whole, *spoilt, made, made, made, b"..", b"\xe9.\xe9.\xe9"]))


@st.composite
def targets(draw: st.DrawFn, template: str) -> bytes:
    """A request target for a route's template, such as `/products/{id:number}`."""
    parts = []
    for part in template.split("/"):
        name, brace, rest = part.partition("{")
        if not brace:
            parts.append(part.encode())
            continue
        kind, _, suffix = rest.partition("}")
        words = _BYTES | st.sampled_from([b"books", b"book", b"app.css"])
        values = _NUMERALS if kind.endswith(":number") else words
        parts.append(name.encode() + draw(values) + suffix.encode())
    path = b"/".join(parts) + draw(st.sampled_from([b"", b"", b"", b"/", b"%00", b"%2f"]))
    query = draw(_queries()) if draw(st.booleans()) else b""
    return path + (b"?" + query if query else b"")


@st.composite
def _queries(draw: st.DrawFn) -> bytes:
    known = [b"category", b"page", b"page_size", b"q", b"min", b"max", b"next", b"everyone", b"after", b"v"]
    likely = st.sampled_from([b"books", b"1", b"3", b"12.50", b"/cart", b"//evil.example", b"laptop"])
    pairs = st.tuples(st.sampled_from(known) | _BYTES, st.one_of(_BYTES, _NUMERALS, likely))
    return b"&".join(b"=".join(pair) for pair in draw(st.lists(pairs, max_size=4)))


@dataclass(frozen=True)
class Visitor:
    """What a real visitor holds, for requests that get past the first checks."""

    csrf: str
    session: str
    refresh: str


@st.composite
def headers(draw: st.DrawFn, visitor: Visitor, admin: str) -> Headers:
    """Headers that the shop, its server or its telemetry reads, each there or not."""
    made: list[tuple[bytes, bytes]] = [(b"host", b"shop.test")]
    token = tokens((visitor.session, admin))
    cookies = [
        (b"csrf", st.sampled_from([visitor.csrf.encode(), b"a" * 43, b"\xff" * 43])),
        (b"session", token),
        (b"refresh", st.sampled_from([visitor.refresh.encode(), b"\xff", b"", b"r" * 2000]) | _HEADER),
        (
            b"cart",
            st.sampled_from([b"1x1", b"1x1.2x3", b"0x0", b"9999999999x9", b"1x1." * 500, b"1"]) | _HEADER,
        ),
        (b"notice", st.sampled_from([b"added", b"x"]) | _HEADER),
        (
            b"traces",
            st.sampled_from([b"1." + b"a" * 32, b"9" * 5000 + b"." + b"a" * 32, b"~" * 99]) | _HEADER,
        ),
    ]
    given = b"; ".join(n + b"=" + draw(v) for n, v in cookies if draw(st.booleans()))
    if given:
        made.append((b"cookie", given))
    others: list[tuple[bytes, Any]] = [
        (b"authorization", st.one_of(token.map(lambda t: b"Bearer " + t), _HEADER)),
        (
            b"content-type",
            st.sampled_from([b"application/json", b"application/x-www-form-urlencoded"]) | _HEADER,
        ),
        (b"idempotency-key", st.sampled_from([b"key", b"k" * 101]) | _HEADER),
        (b"last-event-id", _NUMERALS | _HEADER),
        (b"origin", st.sampled_from([b"http://shop.test", b"null", b"http://evil.test"]) | _HEADER),
        (b"sec-fetch-site", st.sampled_from([b"same-origin", b"cross-site"]) | _HEADER),
        (b"traceparent", st.just(b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01") | _HEADER),
        (b"tracestate", st.sampled_from([b"a=b", b"a=\xff"]) | _HEADER),
        (b"baggage", st.sampled_from([b"a=b", b"a=\xff"]) | _HEADER),
        (b"x-forwarded-for", st.sampled_from([b"1.2.3.4", b"1.2.3.4, [::1", b"unknown"]) | _HEADER),
        (b"accept", _HEADER),
        (b"user-agent", _HEADER),
    ]
    made += [(name, draw(values)) for name, values in others if draw(st.booleans())]
    if draw(st.sampled_from([False] * 5 + [True])):
        made[0] = (b"host", draw(_HEADER))
    return tuple(made)


_FIELDS = [
    *("csrf", "login", "password", "name", "email", "next", "product_id", "quantity", "remove", "status"),
    *("key", "pay", "street", "city", "state", "zip_code", "country"),
    *("card_number", "card_expiry", "card_cvv"),
]


@st.composite
def forms(draw: st.DrawFn, visitor: Visitor) -> bytes:
    """A URL-encoded form, mostly with the right token."""
    fields = {name: draw(_BYTES | _NUMERALS) for name in draw(st.sets(st.sampled_from(_FIELDS)))}
    if draw(st.sampled_from([True, True, True, False])):
        fields["csrf"] = visitor.csrf.encode()
    return b"&".join(name.encode() + b"=" + value for name, value in fields.items())


@st.composite
def orders(draw: st.DrawFn) -> bytes:
    """The JSON of an order, with anything anywhere."""
    address = {"street": '"1 Main"', "city": '"Town"', "zip_code": '"1"', "country": '"US"', "state": '""'}
    for name in draw(st.sets(st.sampled_from(sorted(address)))):
        address[name] = draw(JSON_VALUES)
    item = {"product_id": "1", "quantity": "1"}
    for name in draw(st.sets(st.sampled_from(sorted(item)), max_size=1)):
        item[name] = draw(JSON_VALUES)
    members = {"items": f"[{_object(item)}]", "shipping_address": _object(address)}
    for name in draw(
        st.sets(st.sampled_from(["items", "shipping_address", "card", "expected_total"]), max_size=2)
    ):
        members[name] = draw(JSON_VALUES)
    return _object(members).encode()


def _object(members: Mapping[str, str]) -> str:
    return "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in members.items()) + "}"


def bodies(visitor: Visitor) -> st.SearchStrategy[bytes]:
    """Anything that a POST may carry."""
    likely = urlencode({"csrf": visitor.csrf, "login": "bob", "password": "bob-password"}).encode()
    return st.one_of(forms(visitor), orders(), DOCUMENTS, st.binary(max_size=40), st.just(likely))
