"""Users' tokens of identity providers, whose keys come over HTTPS: good ones, wrong ones, and rotation."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from grpcmesh.auth import FileKeys, JwksKeys, KeysError, TokenVerifier, https
from grpcmesh.auth.sources import LONGEST, SHORTEST, USUAL
from grpcmesh.errors import Unauthenticated, Unavailable
from grpcmesh.testing.clock import VirtualClock
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.idp import DISCOVERY, KEYS, PATIENCE, Provider, answer, provider, verifier
from tests.integration.serverkit import failure, until
from tests.integration.test_runtime import process
from tests.unit.fakes import samples


@pytest.fixture
async def idp(tmp_path: Path) -> AsyncIterator[Provider]:
    async with provider(tmp_path) as made:
        yield made


def refused(verifier: TokenVerifier, token: str) -> bool:
    try:
        verifier.verify(token)
    except Unauthenticated:
        return True
    return False


async def test_a_provider_is_discovered_and_its_tokens_name_users(idp: Provider) -> None:
    made = verifier(idp)
    assert await made.start(PATIENCE)
    principal = made.verify(idp.token())
    assert (principal.subject, principal.user_id) == ("f81d4fae", 0)
    assert principal.roles == {"admin"}
    assert principal.issuer == idp.issuer
    assert idp.asked == [DISCOVERY, KEYS]


@pytest.mark.parametrize(
    "key",
    [ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()],
    ids=["ES256", "EdDSA"],
)
async def test_each_algorithm_of_the_allow_list(idp: Provider, key: Any) -> None:
    idp.keys["k2"] = key
    made = verifier(idp)
    assert await made.refresh()
    assert made.verify(idp.token("k2")).subject == "f81d4fae"
    strict = verifier(idp, MESH_AUTH_ALGORITHMS="RS256")
    assert await strict.refresh()
    assert strict.verify(idp.token("r1")).subject == "f81d4fae"
    assert refused(strict, idp.token("k2"))


async def test_a_token_cannot_choose_its_algorithm(idp: Provider) -> None:
    made = verifier(idp)
    assert await made.refresh()
    claims = jwt.decode(idp.token(), options={"verify_signature": False})
    public = idp.keys["r1"].public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert refused(made, jwt.encode(claims, None, algorithm="none", headers={"kid": "r1"}))  # type: ignore[arg-type]
    assert refused(made, hmac_token(claims, pem))
    for other in ("RS384", "RS512", "PS256"):
        assert refused(made, jwt.encode(claims, idp.keys["r1"], other, headers={"kid": "r1"}))
    own_key = rsa.generate_private_key(65537, 2048)
    for name in ("jwk", "jku", "x5u", "x5c"):
        value = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(own_key.public_key()))
        header = {name: value if name == "jwk" else "https://localhost/keys"}
        assert refused(made, idp.token(key=own_key, header=header))
    assert refused(made, idp.token(header={"typ": "logout+jwt"}))
    assert made.verify(idp.token(header={"typ": "at+jwt"})).subject == "f81d4fae"


def hmac_token(claims: dict[str, Any], secret: bytes) -> str:
    """Return a token whose HMAC has the public key as its secret, which PyJWT itself refuses to make."""
    import base64
    import hmac

    parts = [{"alg": "HS256", "typ": "JWT", "kid": "r1"}, claims]
    signed = b".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    signature = hmac.digest(secret, signed, "sha256")
    return (signed + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


@pytest.mark.parametrize(
    "claims",
    [
        {"iss": "https://localhost/realms/shop"},
        {"aud": "account"},
        {"aud": None},
        {"exp": 1},
        {"sub": 7},
        {"sub": ""},
        {"realm_access": {"roles": "admin"}},
        {"nbf": 4_000_000_000},
    ],
    ids=str,
)
async def test_a_token_with_a_wrong_claim_is_refused(idp: Provider, claims: dict[str, Any]) -> None:
    made = verifier(idp)
    assert await made.refresh()
    assert refused(made, idp.token(**claims))


async def test_audiences_are_those_of_the_issuer_or_the_server_itself(idp: Provider) -> None:
    made = verifier(
        idp, own="spiffe://cluster.local/ns/shop/sa/ping", MESH_AUTH_AUDIENCES="corp=shop api://x"
    )
    assert await made.refresh()
    for good in ("shop", "api://x", ["other", "shop"], "spiffe://cluster.local/ns/shop/sa/ping"):
        assert not refused(made, idp.token(aud=good))
    assert refused(made, idp.token(aud="staff"))


async def test_a_new_key_is_fetched_when_a_token_names_it_and_an_old_one_is_void_when_it_leaves(
    idp: Provider,
) -> None:
    made = verifier(idp)
    assert await made.start(PATIENCE)
    old = idp.token()
    made.verify(old)
    watching = asyncio.create_task(made.watch())
    try:
        idp.keys = {"r2": ec.generate_private_key(ec.SECP256R1())}
        new = idp.token("r2")
        assert refused(made, new)
        await until(lambda: not refused(made, new))
        assert refused(made, old)
    finally:
        watching.cancel()


async def test_the_last_good_keys_stay_until_they_are_stale(
    idp: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    clock = VirtualClock(1000.0)
    made = verifier(idp, monotonic=clock, MESH_AUTH_STALE_LIMIT="3600")
    assert await made.refresh()
    token = idp.token()
    made.verify(token)
    idp.answers[KEYS] = answer("", "503 Service Unavailable")
    clock.advance(3599)
    with caplog.at_level(logging.WARNING):
        assert not await made.refresh()
        assert not await made.refresh()
    assert made.verify(token).subject == made.verify(idp.token(sub="f81d4fae", jti="2")).subject
    assert [r.getMessage() for r in caplog.records if "503" in r.getMessage()] == [
        f"keys of the token issuer not fetched: {idp.issuer}: {idp.base}{KEYS} answers with the status 503"
    ]
    labels = f"{{cause=status,issuer={idp.issuer}}}"
    assert samples(made)[f"mesh_auth_key_problem{labels}"] == 1
    clock.advance(2)
    for kept in (token, idp.token(jti="3")):  # also what was verified before
        with pytest.raises(Unavailable):
            made.verify(kept)
    del idp.answers[KEYS]
    assert await made.refresh()
    assert made.verify(token).subject == "f81d4fae"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("max-age=600", 600),
        ("public, max-age=0", SHORTEST),
        ("no-store", SHORTEST),
        ("no-cache, max-age=600", SHORTEST),
        ("max-age=999999999", LONGEST),
        ("max-age=99999999999999999999", LONGEST),
        ("max-age=-1", USUAL),
        ("private", USUAL),
        ("max-age=ten", USUAL),
    ],
)
async def test_cache_control_says_when_keys_are_fetched_again(
    idp: Provider, header: str, seconds: float
) -> None:
    idp.cache_control = header
    source = JwksKeys(idp.base + KEYS, ca_file=idp.ca_file, timeout=PATIENCE)
    await source.fetch()
    assert source.fresh_for == seconds


def test_the_age_of_a_cached_answer_counts() -> None:
    headers = [(b"cache-control", b"max-age=600"), (b"age", b"500")]
    assert https.freshness(headers) == 100


async def test_several_issuers_each_with_its_own_keys_audience_and_roles(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with provider(tmp_path / "a") as a, provider(tmp_path / "b") as b:
        both = tmp_path / "both.pem"
        both.write_bytes(a.authority.pem + b.authority.pem)
        made = verifier(
            a,
            MESH_AUTH_ISSUERS=f"corp={a.issuer},partner={b.issuer}",
            MESH_AUTH_JWKS=f"partner={b.base}{KEYS}",
            MESH_AUTH_AUDIENCES="corp=staff,partner=partners",
            MESH_AUTH_ROLES_CLAIMS="corp=realm_access.roles,partner=groups",
            MESH_AUTH_CA_FILE=str(both),
        )
        assert await made.start(PATIENCE)
        assert b.asked == [KEYS]
        assert made.verify(a.token(aud="staff")).roles == {"admin"}
        partner = made.verify(b.token(aud="partners", groups=["buyer"]))
        assert (partner.issuer, partner.roles) == (b.issuer, {"buyer"})
        assert refused(made, a.token(aud="partners"))
        # One provider cannot speak for the other, although both use the same key id.
        assert refused(made, b.token(iss=a.issuer, aud="staff"))
        assert refused(made, a.token(iss=b.issuer, aud="partners"))
        b.answers[KEYS] = b"not HTTP"
        assert not await made.refresh()
        assert made.verify(a.token(aud="staff", jti="2")).issuer == a.issuer


async def test_keys_come_from_a_file_too(idp: Provider, tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    made = verifier(idp, MESH_AUTH_JWKS=f"corp={path.as_uri()}")
    assert not await made.refresh()
    path.write_bytes(idp.good(KEYS).partition(b"\r\n\r\n")[2])
    assert await made.refresh()
    assert made.verify(idp.token()).subject == "f81d4fae"
    path.write_bytes(b" " * (https.MAX_BODY + 1))
    with pytest.raises(KeysError, match="more than"):
        await FileKeys(path).fetch()


async def test_a_server_accepts_tokens_of_the_provider_by_its_settings(idp: Provider, tmp_path: Path) -> None:
    (tmp_path / "p").mkdir()
    async with process(tmp_path / "p", **idp.settings()) as p:
        await p.ready()
        async with p.channel() as channel:
            stub = PingServiceStub(channel)
            good = (("authorization", f"Bearer {idp.token()}"),)
            assert (await stub.Ping(PingRequest(), metadata=good, timeout=PATIENCE)).replica == "ping-1"
            bad = (("authorization", f"Bearer {idp.token(aud='other')}"),)
            error = await failure(stub.Ping(PingRequest(), metadata=bad, timeout=PATIENCE))
            assert error.code() == grpc.StatusCode.UNAUTHENTICATED
