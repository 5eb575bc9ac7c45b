"""Tokens that are signed well and make no sense, and tokens that are none."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.auth import from_jwk
from grpcmesh.auth.claims import MAX_ROLES, MAX_TEXT, ClaimRules, ClaimsError, ExpiredError, read_claims
from grpcmesh.bad_values import bad_values
from grpcmesh.call import Principal
from grpcmesh.errors import Unauthenticated
from tests.unit.fakes import TOKENS as TRUSTED
from tests.unit.tokenskit import ED, NOW, Shop, forge

GOOD = {"sub": "7", "name": "alice", "roles": ["user"], "exp": NOW + 60}


ALICE = Principal(7, "alice", frozenset({"user"}), NOW + 60, subject="7")


def read(**claims: Any) -> Principal:
    return read_claims({**GOOD, **claims}, NOW, 5.0)


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({}, ALICE),
        ({"exp": int(NOW) + 60}, ALICE),
        ({"roles": []}, replace(ALICE, roles=frozenset())),
        ({"sub": "9" * 18}, replace(ALICE, user_id=10**18 - 1, subject="9" * 18)),
        ({"name": "Łucja 山"}, replace(ALICE, name="Łucja 山")),
        ({"nbf": NOW + 5}, ALICE),
    ],
)
def test_good_claims_are_read(claims: dict[str, Any], expected: Principal) -> None:
    assert read(**claims) == expected


FOREIGN = ClaimRules("https://id.example", numeric=False, roles="realm_access.roles", roles_required=False)


def read_foreign(rules: ClaimRules = FOREIGN, **claims: Any) -> Principal:
    return read_claims({"sub": "u-1", "exp": NOW + 60, **claims}, NOW, 5.0, rules)


@pytest.mark.parametrize("sub", ["alice", "auth0|5f7c", "f81d4fae-7dec", "7", "0", "x" * 255, "Łucja"])
def test_a_foreign_issuers_subject_is_a_text_and_never_one_of_our_user_ids(sub: str) -> None:
    principal = read_foreign(sub=sub)
    assert (principal.subject, principal.user_id) == (sub, 0)
    assert principal.issuer == "https://id.example"


@pytest.mark.parametrize("sub", ["", "x" * 256, "a\nb", "\x1b[31m", "\ud800", 7, None, ["a"], {}])
def test_a_foreign_issuers_subject_is_bounded_text(sub: Any) -> None:
    with pytest.raises(ClaimsError, match="sub"):
        read_foreign(sub=sub)


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        ("realm_access.roles", {"realm_access": {"roles": ["admin"]}}, ["admin"]),
        ("resource_access.shop.roles", {"resource_access": {"shop": {"roles": ["a", "b"]}}}, ["a", "b"]),
        ("https://api.example.com/roles", {"https://api.example.com/roles": ["admin"]}, ["admin"]),
        ("a.b", {"a.b": ["whole"], "a": {"b": ["parts"]}}, ["whole"]),
        ("scope", {"scope": "read write"}, ["read", "write"]),
        ("scp", {"scp": "read"}, ["read"]),
        ("scope", {"scope": ["read"]}, ["read"]),
        ("groups", {}, []),
        ("realm_access.roles", {"realm_access": {}}, []),
        ("realm_access.roles", {"roles": ["admin"]}, []),
    ],
    ids=str,
)
def test_the_place_of_the_roles_is_a_setting(path: str, claims: dict[str, Any], roles: list[str]) -> None:
    assert read_foreign(replace(FOREIGN, roles=path), **claims).roles == set(roles)


@pytest.mark.parametrize(
    "claims",
    [
        {"realm_access": ["roles"]},
        {"realm_access": "roles"},
        {"realm_access": None},
        {"realm_access": {"roles": "admin"}},
        {"realm_access": {"roles": {"admin": True}}},
        {"realm_access": {"roles": None}},
        {"realm_access": {"roles": ["x"] * (MAX_ROLES + 1)}},
        {"realm_access": {"roles": ["a\n"]}},
    ],
    ids=lambda v: repr(v)[:40],
)
def test_nested_roles_of_a_wrong_shape_are_refused(claims: dict[str, Any]) -> None:
    with pytest.raises(ClaimsError, match="roles"):
        read_foreign(**claims)


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
    "name", ["Jean\u00a0Luc", "山田\u3000太郎", "می\u200cخواهم", None, 7, "x" * (MAX_TEXT + 1)]
)
def test_a_foreign_name_that_cannot_be_shown_locks_nobody_out(name: Any) -> None:
    assert read_foreign(sub="f81d4fae", name=name).name == ""
    assert read_foreign(sub="f81d4fae", name="Ada").name == "Ada"


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
CLAIMS = {"iss": TRUSTED.issuer, "aud": TRUSTED.audience, **GOOD}


def test_the_helper_makes_good_tokens() -> None:
    assert Shop().verifier.verify(raw(HEADER, CLAIMS)).user_id == 7


TOKENS = {
    "alg none": raw({**HEADER, "alg": "none"}, CLAIMS),
    "alg none without signature": raw({**HEADER, "alg": "none"}, CLAIMS).rpartition(".")[0] + ".",
    "alg HS256": raw({**HEADER, "alg": "HS256"}, CLAIMS),
    "alg ES256": raw({**HEADER, "alg": "ES256"}, CLAIMS),
    "alg a list": raw({**HEADER, "alg": ["EdDSA"]}, CLAIMS),
    "typ logout": raw({**HEADER, "typ": "logout+jwt"}, CLAIMS),
    "typ a list": raw({**HEADER, "typ": ["JWT"]}, CLAIMS),
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
    "aud a dict": raw(HEADER, {**CLAIMS, "aud": {TRUSTED.audience: 1}}),
    "aud of numbers": raw(HEADER, {**CLAIMS, "aud": [1, TRUSTED.audience]}),
    "iss a list": raw(HEADER, {**CLAIMS, "iss": [TRUSTED.issuer]}),
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
