"""Which tokens a `TokenVerifier` accepts."""

import asyncio
import base64
import json
from collections.abc import Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from grpcmesh.auth import StaticKeys, TokenIssuer, TokenVerifier
from grpcmesh.call import Principal
from grpcmesh.config import AuthConfig, ConfigError
from grpcmesh.errors import Unauthenticated, Unavailable
from grpcmesh.testing.clock import VirtualClock
from tests.unit.fakes import samples
from tests.unit.tokenskit import CONFIG, ED, NOW, P256, Shop, forge


@pytest.mark.parametrize("key", [ED, P256], ids=["EdDSA", "ES256"])
def test_an_issued_token_is_verified(key: Any) -> None:
    principal = Shop(key).verifier.verify(Shop(key).token())
    roles = frozenset({"user", "admin"})
    assert principal == Principal(7, "alice", roles, NOW + 60, NOW, subject="7", issuer=CONFIG.issuer)


def test_a_token_that_is_well_made_elsewhere_is_verified() -> None:
    assert Shop().verifier.verify(forge()).user_id == 7


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://elsewhere"},
        {"aud": "other"},
        {"aud": []},
        {"exp": int(NOW) - 6},
        {"exp": "soon"},
        {"nbf": int(NOW) + 60},
        {"sub": "alice"},
        {"sub": "-1"},
        {"sub": "0"},
        {"roles": "admin"},
        {"roles": [1]},
        {"roles": None},
    ],
    ids=str,
)
def test_a_token_with_a_wrong_claim_is_refused(claims: Mapping[str, Any]) -> None:
    assert Shop().rejects(forge(claims))


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "sub", "roles"])
def test_a_token_without_a_claim_is_refused(claim: str) -> None:
    assert Shop().rejects(forge(drop=claim))


def test_the_skew_of_clocks_is_forgiven() -> None:
    assert not Shop().rejects(forge({"exp": int(NOW) - 3}))


def test_another_keys_signature_is_refused() -> None:
    assert Shop().rejects(forge(key=ed25519.Ed25519PrivateKey.generate()))


def test_a_changed_token_is_refused() -> None:
    header, payload, signature = Shop().token().split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=="))
    claims["roles"] = ["admin", "root"]
    changed = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    assert Shop().rejects(f"{header}.{changed}.{signature}")


def test_the_token_does_not_choose_its_algorithm() -> None:
    shop = Shop()
    claims = jwt.decode(forge(), options={"verify_signature": False})
    unsigned = jwt.encode(claims, None, algorithm="none", headers={"kid": "k1"})  # type: ignore[arg-type]
    assert shop.rejects(unsigned)
    raw = ED.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    assert shop.rejects(jwt.encode(claims, raw, algorithm="HS256", headers={"kid": "k1"}))
    assert shop.rejects(forge(key=P256))


@pytest.mark.parametrize("token", ["", "x", "a.b.c", "....", "é.b.c", "x" * 10_000])
def test_what_is_no_token_is_refused(token: str) -> None:
    assert Shop().rejects(token)


@pytest.mark.parametrize("kid", [None, 5, ["k1"], "unknown"])
def test_a_token_without_a_known_key_id_is_refused(kid: Any) -> None:
    header = base64.urlsafe_b64encode(json.dumps({"alg": "EdDSA", "kid": kid}).encode()).decode().rstrip("=")
    assert Shop().rejects(".".join([header, *forge().split(".")[1:]]))


def test_a_verified_token_is_remembered_until_it_ends() -> None:
    shop = Shop()
    token = shop.token(60)
    for _ in range(3):
        shop.verifier.verify(token)
    counted = samples(shop.verifier)
    assert counted["mesh_auth_tokens_total{result=verified}"] == 1
    assert counted["mesh_auth_tokens_total{result=cached}"] == 2
    shop.clock.advance(64)
    assert not shop.rejects(token)
    shop.clock.advance(2)
    assert shop.rejects(token)


def test_memory_of_tokens_is_bounded() -> None:
    shop = Shop()
    tokens = [shop.token() for _ in range(20)]
    for token in tokens:
        shop.verifier.verify(token)
    shop.verifier.verify(tokens[-1])
    assert samples(shop.verifier)["mesh_auth_tokens_total{result=cached}"] == 1
    shop.verifier.verify(tokens[0])
    assert samples(shop.verifier)["mesh_auth_tokens_total{result=verified}"] == 21


def test_a_refused_token_is_not_remembered_as_good() -> None:
    shop = Shop()
    bad = forge({"aud": "other"})
    assert shop.rejects(bad)
    assert shop.rejects(bad)
    assert samples(shop.verifier)["mesh_auth_tokens_total{result=rejected}"] == 2


def test_before_the_keys_are_there_the_caller_may_retry() -> None:
    verifier = TokenVerifier(CONFIG, StaticKeys({}), VirtualClock(NOW))
    with pytest.raises(Unavailable):
        verifier.verify(forge())


def test_without_a_source_no_token_is_accepted() -> None:
    verifier = TokenVerifier(CONFIG)
    with pytest.raises(Unauthenticated):
        verifier.verify(forge())
    assert not asyncio.run(verifier.refresh())


@pytest.mark.parametrize(
    ("config", "variable"),
    [
        (AuthConfig(audience="shop"), "MESH_AUTH_ISSUER"),
        (AuthConfig(issuer="https://issuer.example.com"), "MESH_AUTH_AUDIENCE"),
    ],
)
def test_keys_need_an_issuer_and_an_audience(config: AuthConfig, variable: str) -> None:
    lacks = rf"^{variable}: has to be set"
    with pytest.raises(ConfigError, match=lacks):
        TokenVerifier(config, StaticKeys({}))
    with pytest.raises(ConfigError, match=lacks):
        TokenVerifier(config).source = StaticKeys({})
    with pytest.raises(ConfigError, match=lacks):
        TokenIssuer(ED, "k1", config)
