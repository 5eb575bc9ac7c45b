"""Tokens that are signed well and make no sense, and tokens that are none."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.auth import from_jwk
from grpcmesh.auth.claims import MAX_ROLES, MAX_TEXT, ClaimsError, ExpiredError, read_claims
from grpcmesh.bad_values import bad_values
from grpcmesh.call import Principal
from grpcmesh.errors import Unauthenticated
from tests.unit.test_auth_tokens import ED, NOW, Shop, forge

GOOD = {"sub": "7", "name": "alice", "roles": ["user"], "exp": NOW + 60}


def read(**claims: Any) -> Principal:
    return read_claims({**GOOD, **claims}, NOW, 5.0)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, Principal(7, "alice", frozenset({"user"}), NOW + 60)),
        ({"exp": int(NOW) + 60}, Principal(7, "alice", frozenset({"user"}), NOW + 60)),
        ({"roles": []}, Principal(7, "alice", frozenset(), NOW + 60)),
        ({"sub": "9" * 18}, Principal(10**18 - 1, "alice", frozenset({"user"}), NOW + 60)),
        ({"name": "Łucja 山"}, Principal(7, "Łucja 山", frozenset({"user"}), NOW + 60)),
        ({"nbf": NOW + 5}, Principal(7, "alice", frozenset({"user"}), NOW + 60)),
    ],
)
def test_good_claims_are_read(claims: dict[str, Any], expected: Principal) -> None:
    assert read(**claims) == expected


NO_DATES: list[Any] = [
    "1800000000", "soon", "", None, True, [NOW + 60], {}, float("nan"), float("inf"), float("-inf"), 10**400,
    -(10**400),
]  # fmt: skip


@pytest.mark.parametrize("value", NO_DATES, ids=lambda v: repr(v)[:20])
@pytest.mark.parametrize("claim", ["exp", "nbf"])
def test_a_time_must_be_a_number_that_is_a_time(claim: str, value: Any) -> None:
    with pytest.raises(ClaimsError, match=f"^{claim}$"):
        read(**{claim: value})


def test_a_token_that_has_ended_says_so() -> None:
    with pytest.raises(ExpiredError):
        read(exp=NOW - 5)
    with pytest.raises(ClaimsError, match="nbf"):
        read(nbf=NOW + 6)


@pytest.mark.parametrize(
    "sub",
    [
        "",
        "0",
        "-7",
        "+7",
        " 7",
        "7 ",
        "7_0",
        "٧",
        "0x7",
        "7.0",
        "1" * 19,
        "7\n",
        7,
        7.0,
        True,
        None,
        ["7"],
        {},
    ],
)
def test_a_subject_must_be_the_decimal_id_of_a_user(sub: Any) -> None:
    with pytest.raises(ClaimsError, match="sub"):
        read(sub=sub)


@pytest.mark.parametrize(
    "roles",
    [
        "admin",
        {"admin": 1},
        None,
        7,
        ["admin", 7],
        [None],
        [["admin"]],
        ["a\n"],
        ["\ud800"],
        ["x" * (MAX_TEXT + 1)],
        ["x"] * (MAX_ROLES + 1),
    ],
    ids=lambda v: repr(v)[:20],
)
def test_roles_must_be_a_list_of_texts(roles: Any) -> None:
    with pytest.raises(ClaimsError, match="roles"):
        read(roles=roles)


@pytest.mark.parametrize(
    "name", [7, None, ["alice"], {}, "\ud800", "a\x1b[31m", "a\nb", "x" * (MAX_TEXT + 1)]
)
def test_a_name_must_be_text_that_can_be_shown(name: Any) -> None:
    with pytest.raises(ClaimsError, match="name"):
        read(name=name)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(["sub", "name", "roles", "exp", "nbf", "x"]), anything))
def test_any_claims_are_a_user_or_a_claims_error(claims: dict[str, Any]) -> None:
    try:
        principal = read_claims(claims, NOW, 5.0)
    except ClaimsError:
        return
    assert principal.user_id > 0


def encoded(data: Any) -> str:
    text = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def raw(header: Any, payload: Any, *, good: bool = True) -> str:
    """Return a token of any header and payload, signed with the published key."""
    signed = f"{encoded(header)}.{encoded(payload)}"
    return f"{signed}.{encoded(ED.sign(signed.encode()) if good else b'x' * 64)}"


HEADER = {"alg": "EdDSA", "kid": "k1", "typ": "JWT"}
DEEP = b"[" * 3000
CLAIMS = {"iss": "https://user.meshmart", "aud": "meshmart", **GOOD}


def test_the_helper_makes_good_tokens() -> None:
    assert Shop().verifier.verify(raw(HEADER, CLAIMS)).user_id == 7


TOKENS = {
    "alg none": raw({**HEADER, "alg": "none"}, CLAIMS),
    "alg none without signature": raw({**HEADER, "alg": "none"}, CLAIMS).rpartition(".")[0] + ".",
    "alg HS256": raw({**HEADER, "alg": "HS256"}, CLAIMS),
    "alg ES256": raw({**HEADER, "alg": "ES256"}, CLAIMS),
    "alg a list": raw({**HEADER, "alg": ["EdDSA"]}, CLAIMS),
    "crit": raw({**HEADER, "crit": ["x"], "x": 1}, CLAIMS),
    "crit empty": raw({**HEADER, "crit": []}, CLAIMS),
    "crit no list": raw({**HEADER, "crit": "exp"}, CLAIMS),
    "b64": raw({**HEADER, "crit": ["b64"], "b64": False}, CLAIMS),
    "kid with control characters": raw({**HEADER, "kid": "k1\n\x1b[31m"}, CLAIMS),
    "kid a path": raw({**HEADER, "kid": "../../etc/passwd"}, CLAIMS),
    "kid a list": raw({**HEADER, "kid": ["k1"]}, CLAIMS),
    "kid a dict": raw({**HEADER, "kid": {}}, CLAIMS),
    "kid half a pair": raw({**HEADER, "kid": "\ud800"}, CLAIMS),
    "header a list": raw([HEADER], CLAIMS),
    "header a number": raw(7, CLAIMS),
    "header deep": raw(DEEP, CLAIMS),
    "header huge number": raw(b'{"alg":"EdDSA","kid":"k1","x":' + b"9" * 4900 + b"}", CLAIMS),
    "header no UTF-8": raw(b"\xff\xfe", CLAIMS),
    "header huge": raw({**HEADER, "x": "x" * 9000}, CLAIMS),
    "payload deep": raw(HEADER, DEEP),
    "payload a list": raw(HEADER, [CLAIMS]),
    "payload a token": raw({**HEADER, "cty": "JWT"}, raw(HEADER, CLAIMS).encode()),
    "payload no UTF-8": raw(HEADER, b"\xff\xfe"),
    "payload empty": raw(HEADER, b""),
    "exp beyond all numbers": raw(HEADER, json.dumps(CLAIMS).replace(str(NOW + 60), "1e400").encode()),
    "exp not a number": raw(HEADER, json.dumps(CLAIMS).replace(str(NOW + 60), "NaN").encode()),
    "exp an endless integer": raw(HEADER, json.dumps(CLAIMS).replace(str(NOW + 60), "9" * 4000).encode()),
    "exp a text": raw(HEADER, {**CLAIMS, "exp": "9999999999"}),
    "aud a dict": raw(HEADER, {**CLAIMS, "aud": {"meshmart": 1}}),
    "aud of numbers": raw(HEADER, {**CLAIMS, "aud": [1, "meshmart"]}),
    "iss a list": raw(HEADER, {**CLAIMS, "iss": ["https://user.meshmart"]}),
    "name half a pair": raw(HEADER, {**CLAIMS, "name": "\ud800"}),
    "signature missing": raw(HEADER, CLAIMS).rpartition(".")[0],
    "signature wrong": raw(HEADER, CLAIMS, good=False),
    "signature not base64": raw(HEADER, CLAIMS).rpartition(".")[0] + ".%%%",
    "half a pair": "\ud800.\ud800.\ud800",
    "dots": "." * 5000,
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_a_hostile_token_is_unauthenticated_and_nothing_else(token: str) -> None:
    shop = Shop()
    before = bad_values.counts["token"]
    with pytest.raises(Unauthenticated) as e:
        shop.verifier.verify(token)
    assert e.value.message.isprintable()
    assert len(e.value.message) < 100
    assert bad_values.counts["token"] - before <= 1
    assert shop.verifier.verify(shop.token()).user_id == 7


@given(st.text(max_size=200) | st.builds("{}.{}.{}".format, *[st.binary(max_size=60).map(encoded)] * 3))
def test_any_text_is_unauthenticated(text: str) -> None:
    with pytest.raises(Unauthenticated):
        SHOP.verifier.verify(text)


SHOP = Shop()


@given(
    st.dictionaries(
        st.sampled_from(["alg", "kid", "crit", "b64", "typ", "jwk", "jku", "x5c"]), anything, max_size=4
    )
)
def test_any_header_is_unauthenticated_or_good(header: dict[str, Any]) -> None:
    try:
        token = raw({**HEADER, **header}, CLAIMS)
    except ValueError:
        return
    try:
        assert SHOP.verifier.verify(token).user_id == 7
    except Unauthenticated:
        return


def test_a_token_that_has_expired_is_no_bad_value() -> None:
    before = bad_values.counts["token"]
    with pytest.raises(Unauthenticated, match="has expired"):
        Shop().verifier.verify(forge({"exp": int(NOW) - 60}))
    assert bad_values.counts["token"] == before


@given(
    st.text(max_size=100)
    | st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "d", "kid", "alg"]), anything).map(json.dumps)
    | st.fixed_dictionaries(
        {
            "kty": st.sampled_from(["OKP", "EC", "RSA", "oct"]),
            "crv": st.sampled_from(["Ed25519", "P-256", "X"]),
            "kid": st.just("k"),
        },
        optional={"x": st.text(max_size=50), "y": st.text(max_size=50), "d": st.text(max_size=50)},
    ).map(json.dumps)
    | st.just("[" * 5000)
    | st.just('{"kid":' + "9" * 5000 + "}")
)
def test_any_text_is_a_key_or_a_value_error(text: str) -> None:
    try:
        kid, _ = from_jwk(text)
    except ValueError:
        return
    assert isinstance(kid, str)
