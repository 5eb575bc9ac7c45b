import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from grpcmesh.auth import PublicKey, StaticKeys, TokenIssuer, TokenVerifier, UserLayer, from_jwk, jwk
from grpcmesh.auth.verifier import MIN_INTERVAL
from grpcmesh.authz import UserRule
from grpcmesh.call import Principal
from grpcmesh.config import AuthConfig, ConfigError
from grpcmesh.errors import PermissionDenied, Unauthenticated, Unavailable
from grpcmesh.testing.clock import VirtualClock, run_in_virtual_time
from tests.unit.fakes import TOKENS, call, samples

CONFIG = replace(TOKENS, leeway=5, cache_size=8)
ED = ed25519.Ed25519PrivateKey.generate()
P256 = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)
NOW = 1_700_000_000.0


class Shop:
    """An issuer, and a verifier that has fetched its key."""

    def __init__(self, key: Any = ED, config: AuthConfig = CONFIG) -> None:
        self.clock = VirtualClock(NOW)
        self.issuer = TokenIssuer(key, "k1", config, self.clock)
        self.source = StaticKeys({"k1": key.public_key()})
        self.verifier = TokenVerifier(config, self.source, self.clock)
        assert asyncio.run(self.verifier.refresh())

    def token(self, lifetime: float = 60) -> str:
        return self.issuer.issue(7, "alice", ["user", "admin"], lifetime)

    def rejects(self, token: str) -> bool:
        try:
            self.verifier.verify(token)
        except Unauthenticated as e:
            leaked = len(token) > 20 and token in str(e)
            return not leaked
        return False


def forge(claims: Mapping[str, Any] | None = None, drop: str = "", key: Any = ED, **header: Any) -> str:
    """Return a token, whose signature is valid unless `key` is another key."""
    good = {
        "iss": CONFIG.issuer, "aud": CONFIG.audience, "sub": "7", "name": "alice", "roles": ["user"],
        "exp": int(NOW) + 60,
    }  # fmt: skip
    all_claims = {**good, **(claims or {})}
    all_claims.pop(drop, None)
    algorithm = "EdDSA" if isinstance(key, ed25519.Ed25519PrivateKey) else "ES256"
    return jwt.encode(all_claims, key, algorithm=algorithm, headers={"kid": "k1", **header})


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


class Published(StaticKeys):
    """A key source that can fail, and counts its fetches."""

    def __init__(self, keys: Mapping[str, PublicKey]) -> None:
        super().__init__(keys)
        self.fetches, self.failing = 0, False

    async def fetch(self) -> Mapping[str, PublicKey]:
        self.fetches += 1
        if self.failing:
            raise ConnectionError("a secret of the source")
        return await super().fetch()


def test_a_provider_that_is_down_delays_the_start_no_longer_than_a_fetch_may_take() -> None:
    async def scenario() -> float:
        corp, loop = "https://corp.example.com", asyncio.get_running_loop()
        config = replace(CONFIG, issuers={"corp": corp}, fetch_timeout=5.0)
        verifier, down = TokenVerifier(config, StaticKeys({"k1": ED.public_key()})), Published({})
        down.failing, verifier._issuers[corp].source = True, down
        began = loop.time()
        assert not await verifier.start(3600)
        assert down.fetches > 1
        return loop.time() - began

    assert run_in_virtual_time(scenario()) == pytest.approx(5.0)


def test_a_failing_source_leaves_the_keys_as_they_were() -> None:
    async def scenario() -> None:
        source = Published({"k1": ED.public_key()})
        verifier = TokenVerifier(CONFIG, source, VirtualClock(NOW))
        assert await verifier.refresh()
        source.failing = True
        assert not await verifier.refresh()
        assert verifier.verify(forge()).user_id == 7
        assert samples(verifier)["mesh_auth_key_fetches_total{result=error}"] == 1

    asyncio.run(scenario())


def test_a_withdrawn_key_voids_what_it_signed_at_once() -> None:
    async def scenario() -> None:
        source = Published({"k1": ED.public_key()})
        verifier = TokenVerifier(CONFIG, source, VirtualClock(NOW))
        await verifier.refresh()
        verifier.verify(forge())
        source.keys = {"k2": P256.public_key()}
        await verifier.refresh()
        with pytest.raises(Unauthenticated):
            verifier.verify(forge())

    asyncio.run(scenario())


def test_an_unknown_key_is_fetched_at_once_and_not_more_often_than_allowed() -> None:
    async def scenario() -> None:
        source = Published({"k1": ED.public_key()})
        verifier = TokenVerifier(CONFIG, source, VirtualClock(NOW))
        await verifier.refresh()
        watching = asyncio.create_task(verifier.watch())
        await asyncio.sleep(1)
        source.keys = {"k1": ED.public_key(), "k2": P256.public_key()}
        rotated = forge(key=P256, kid="k2")
        with pytest.raises(Unauthenticated):
            verifier.verify(rotated)
        await asyncio.sleep(0.1)
        assert verifier.verify(rotated).user_id == 7
        before = source.fetches
        for _ in range(100):  # a flood of unknown key ids
            with pytest.raises(Unauthenticated):
                verifier.verify(forge(kid="nowhere"))
            await asyncio.sleep(MIN_INTERVAL / 10)
        assert source.fetches - before <= 11
        watching.cancel()

    run_in_virtual_time(scenario())


def test_keys_are_fetched_at_each_interval() -> None:
    async def scenario() -> None:
        source = Published({"k1": ED.public_key()})
        verifier = TokenVerifier(CONFIG, source, VirtualClock(NOW))
        await verifier.refresh()
        watching = asyncio.create_task(verifier.watch())
        await asyncio.sleep(600)
        assert 19 <= source.fetches <= 21
        watching.cancel()

    run_in_virtual_time(scenario())


def test_the_start_waits_for_the_keys_only_so_long() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        source = Published({})
        source.failing = True
        verifier, started = TokenVerifier(CONFIG, source), loop.time()
        assert not await verifier.start(5)
        assert loop.time() - started == pytest.approx(5)
        source.failing = False
        assert await verifier.start(5)

    run_in_virtual_time(scenario())


@pytest.mark.parametrize("key", [ED, P256, RSA], ids=["EdDSA", "ES256", "RS256"])
def test_a_key_survives_its_publication(key: Any) -> None:
    kid, read = from_jwk(jwk(key.public_key(), "k9"))
    assert (kid, read) == ("k9", key.public_key())
    assert not {"d", "p", "q"} & json.loads(jwk(key.public_key(), "k9")).keys()
    assert '"d"' not in jwk(key.public_key(), "k9")


def with_kid(text: str) -> str:
    return json.dumps({**json.loads(text), "kid": "k"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"kty": "oct", "k": "AAAA", "kid": "k"}',
        '{"kty": "OKP", "crv": "Ed25519", "x": "AAAA", "kid": "k"}',
        OKPAlgorithm.to_jwk(ED.public_key()),
        with_kid(OKPAlgorithm.to_jwk(ED)),
        with_kid(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key())),
        with_kid(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key())),
        with_kid(RSAAlgorithm.to_jwk(RSA)),
        json.dumps({"kty": "RSA", "n": "A" * 100_000, "e": "AQAB", "kid": "k"}),
        json.dumps({"kty": "RSA", "n": "A" * 340, "e": "A" * 10_000, "kid": "k"}),
        json.dumps({"kty": "RSA", "n": 7, "e": 3, "kid": "k"}),
    ],
    ids=[
        "nothing",
        "list",
        "empty",
        "symmetric",
        "short",
        "no-id",
        "private",
        "P-384",
        "RSA-1024",
        "RSA-private",
        "RSA-huge",
        "RSA-huge-exponent",
        "RSA-numbers",
    ],
)
def test_what_is_no_public_key_with_an_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"not a|cannot sign"):
        from_jwk(text)


def layer(rule: UserRule) -> tuple[UserLayer, str]:
    shop = Shop()
    return UserLayer(shop.verifier, lambda method: rule), shop.token()


ANYONE, USER, MODERATOR = UserRule(optional=True), UserRule(), UserRule(roles=frozenset({"moderator"}))


def test_a_method_for_anyone_needs_no_token_and_reads_one() -> None:
    users, token = layer(ANYONE)
    nobody = call()
    users.on_start(nobody)
    assert nobody.principal is None
    alice = call(authorization=f"Bearer {token}")
    users.on_start(alice)
    assert alice.principal is not None
    assert alice.principal.name == "alice"


@pytest.mark.parametrize("rule", [USER, MODERATOR])
def test_a_missing_token_is_refused_with_both_remedies(rule: UserRule) -> None:
    # A new policy has no [users], so this message is the first that its author sees.
    users, _ = layer(rule)
    with pytest.raises(Unauthenticated) as refused:
        users.on_start(call())
    assert "authorization: Bearer" in refused.value.message
    assert '"anyone" of this method in [users]' in refused.value.message


@pytest.mark.parametrize("rule", [ANYONE, USER, MODERATOR])
@pytest.mark.parametrize("header", ["Bearer x.y.z", "Basic YTpi", "Bearer", ""])
def test_a_bad_token_is_refused_whatever_the_method_needs(rule: UserRule, header: str) -> None:
    users, _ = layer(rule)
    with pytest.raises(Unauthenticated):
        users.on_start(call(authorization=header))


def test_a_method_for_users_needs_a_token() -> None:
    users, token = layer(USER)
    with pytest.raises(Unauthenticated):
        users.on_start(call())
    users.on_start(call(authorization=f"bearer {token}"))


def test_a_method_for_a_role_needs_that_role() -> None:
    users, token = layer(MODERATOR)
    with pytest.raises(PermissionDenied) as raised:
        users.on_start(call(authorization=f"Bearer {token}"))
    assert raised.value.reason.reason == "ROLE_REQUIRED"
    users, token = layer(UserRule(roles=frozenset({"moderator", "admin"})))
    users.on_start(call(authorization=f"Bearer {token}"))


def test_without_a_verifier_only_the_tokenless_pass() -> None:
    users = UserLayer(None, lambda method: ANYONE)
    users.on_start(call())
    with pytest.raises(Unauthenticated):
        users.on_start(call(authorization="Bearer x"))
