"""Key sets and discovery documents as identity providers publish them, and as an attacker might."""

import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from grpcmesh.auth.jwks import MAX_KEYS, read_discovery, read_jwks
from grpcmesh.auth.problems import KeyCause, KeysError
from grpcmesh.config import AuthConfig, ConfigError
from grpcmesh.identity_config import ALGORITHMS

RSA = rsa.generate_private_key(65537, 2048)
P256 = ec.generate_private_key(ec.SECP256R1())
ED = ed25519.Ed25519PrivateKey.generate()
WHERE = "https://id.example/keys"
ISSUER = "https://id.example/realms/shop"


def entry(key: Any = RSA, kid: str = "k1", **more: Any) -> dict[str, Any]:
    kind: Any = {rsa.RSAPrivateKey: RSAAlgorithm, ec.EllipticCurvePrivateKey: ECAlgorithm}
    encoder = next((v for k, v in kind.items() if isinstance(key, k)), OKPAlgorithm)
    return {**json.loads(encoder.to_jwk(key.public_key())), "kid": kid, **more}


def document(*keys: Any) -> bytes:
    return json.dumps({"keys": keys}).encode()


def read(*keys: Any, algorithms: tuple[str, ...] = ALGORITHMS) -> dict[str, Any]:
    return read_jwks(document(*keys), algorithms, WHERE)


def test_keys_of_each_allowed_type_are_read() -> None:
    found = read(entry(RSA, "r", alg="RS256", use="sig"), entry(P256, "e"), entry(ED, "d", alg="EdDSA"))
    assert found == {"r": RSA.public_key(), "e": P256.public_key(), "d": ED.public_key()}


UNUSABLE: dict[str, Any] = {
    "symmetric": {"kty": "oct", "k": "AAAA", "kid": "x", "alg": "HS256"},
    "private": {**json.loads(RSAAlgorithm.to_jwk(RSA)), "kid": "x", "key_ops": ["verify"]},
    "for encryption": entry(kid="x", use="enc"),
    "alg none": entry(kid="x", alg="none"),
    "alg HS256": entry(kid="x", alg="HS256"),
    "alg of another type": entry(kid="x", alg="ES256"),
    "alg not allowed": entry(kid="x", alg="RS512"),
    "alg a list": entry(kid="x", alg=["RS256"]),
    "for signing only": entry(kid="x", key_ops=["sign"]),
    "key_ops a text": entry(kid="x", key_ops="verify"),
    "kid a number": entry(kid="x") | {"kid": 7},
    "kid long": entry(kid="x" * 300),
    "RSA of 1024 bits": entry(rsa.generate_private_key(65537, 1024), "x"),
    "P-384": entry(ec.generate_private_key(ec.SECP384R1()), "x"),
    "off the curve": entry(P256, "x") | {"x": entry(RSA)["n"][:43]},
    "modulus huge": entry(kid="x") | {"n": "A" * 200_000},
    "modulus even": entry(kid="x") | {"n": "gA" + "AA" * 170},
    "exponent 1": entry(kid="x") | {"e": "AQ"},
    "exponent huge": entry(kid="x") | {"e": "A" * 100},
    "no modulus": {"kty": "RSA", "kid": "x"},
    "type unknown": {"kty": "PQC", "kid": "x"},
    "type missing": {"kid": "x"},
    "type a list": {"kty": ["RSA"], "kid": "x"},
    "a number": 7,
    "a text": "k1",
    "null": None,
    "a list": [entry(kid="x")],
}  # fmt: skip


@pytest.mark.parametrize("bad", UNUSABLE.values(), ids=UNUSABLE)
def test_a_key_that_cannot_be_used_is_left_out_and_the_others_stay(bad: Any) -> None:
    assert read(bad, entry()) == {"k1": RSA.public_key()}
    with pytest.raises(KeysError, match="none of its 1 keys") as e:
        read(bad)
    assert e.value.cause == KeyCause.NOT_KEYS


def test_the_allow_list_decides() -> None:
    assert read(entry(RSA, "r"), entry(P256, "e"), algorithms=("ES256",)) == {"e": P256.public_key()}


def test_an_id_that_comes_twice_is_that_of_the_first_usable_key() -> None:
    other = rsa.generate_private_key(65537, 2048)
    assert read(entry(kid="k1", use="enc"), entry(P256), entry(other)) == {"k1": P256.public_key()}


DOCUMENTS: dict[str, tuple[bytes, KeyCause]] = {
    "empty": (b"", KeyCause.NOT_JSON),
    "a page": (b"<html>503</html>", KeyCause.NOT_JSON),
    "no UTF-8": (b"\xff\xfe{}", KeyCause.NOT_JSON),
    "deep": (b"[" * 100_000, KeyCause.NOT_JSON),
    "a huge number": (b'{"keys": ' + b"9" * 100_000 + b"}", KeyCause.NOT_JSON),
    "a list": (b"[]", KeyCause.NOT_KEYS),
    "no keys": (b"{}", KeyCause.NOT_KEYS),
    "keys a dict": (b'{"keys": {}}', KeyCause.NOT_KEYS),
    "keys none": (b'{"keys": []}', KeyCause.NOT_KEYS),
    "keys too many": (document(*[entry()] * (MAX_KEYS + 1)), KeyCause.NOT_KEYS),
}


@pytest.mark.parametrize(("body", "cause"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_is_no_key_set_is_refused_with_the_cause(body: bytes, cause: KeyCause) -> None:
    with pytest.raises(KeysError, match=r"^https://id.example/keys") as e:
        read_jwks(body, ALGORITHMS, WHERE)
    assert e.value.cause == cause
    assert len(str(e.value)) < 300
    assert str(e.value).isprintable()


@given(st.binary(max_size=100) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["keys", "kty", "kid", "n", "e", "x", "y", "crv", "alg", "use"]), inner, max_size=4
    ),
).map(lambda value: json.dumps({"keys": value}).encode()))  # fmt: skip
def test_any_document_is_keys_or_a_keys_error(body: bytes) -> None:
    try:
        assert read_jwks(body, ALGORITHMS, WHERE)
    except KeysError:
        return


def discovery(**fields: Any) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": WHERE, **fields}).encode()


def test_a_discovery_document_names_the_keys() -> None:
    assert read_discovery(discovery(), ISSUER, "where") == WHERE


@pytest.mark.parametrize(
    ("fields", "cause"),
    [
        ({"issuer": "https://evil.example"}, KeyCause.ISSUER_MISMATCH),
        ({"issuer": ISSUER + "/"}, KeyCause.ISSUER_MISMATCH),
        ({"issuer": [ISSUER]}, KeyCause.ISSUER_MISMATCH),
        ({"issuer": "\x1b[31m" * 1000}, KeyCause.ISSUER_MISMATCH),
        ({"jwks_uri": None}, KeyCause.NOT_KEYS),
        ({"jwks_uri": ["https://id.example"]}, KeyCause.NOT_KEYS),
    ],
    ids=lambda v: str(v)[:40],
)
def test_a_discovery_document_of_another_issuer_is_refused(fields: dict[str, Any], cause: KeyCause) -> None:
    with pytest.raises(KeysError) as e:
        read_discovery(discovery(**fields), ISSUER, "where")
    assert e.value.cause == cause
    assert str(e.value).isprintable()
    assert len(str(e.value)) < 400


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"issuers": {"corp": "http://id.example"}}, "is not an https:// URL"),
        ({"issuers": {"corp": "https://user:secret@id.example"}}, "must not hold a user name"),
        ({"issuers": {"corp": "https://id.example:port"}}, "has a wrong port"),
        ({"issuers": {"corp": "id.example"}}, "is not an https:// URL"),
        ({"issuers": {"a": ISSUER, "b": ISSUER}}, "is there twice"),
        ({"issuer": ISSUER, "issuers": {"a": ISSUER}}, "is there twice"),
        ({"issuers": {"a": ISSUER, "b": WHERE}, "audiences": {"a": "x"}}, "set that of b, or MESH_"),
        ({"jwks": {"corp": WHERE}}, "'corp' is none of auth.issuers"),
        ({"issuers": {"corp": ISSUER}, "jwks": {"corp": "http://id.example/keys"}}, "is not an https:// URL"),
        ({"issuers": {"corp": ISSUER}, "audiences": {"corp": " "}}, "must not be empty"),
        ({"algorithms": ("RS256", "HS256")}, "must be some of EdDSA, ES256, RS256"),
        ({"algorithms": ("none",)}, "must be some of"),
        ({"algorithms": ()}, "must be some of"),
        ({"stale_limit": 0}, "must be positive"),
    ],
    ids=lambda v: str(v)[:50],
)
def test_a_wrong_setting_is_told(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        AuthConfig(**settings)
