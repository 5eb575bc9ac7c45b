"""How a `TokenVerifier` fetches the keys of its issuers, and which keys it takes."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from grpcmesh.auth import StaticKeys, TokenVerifier, from_jwk, jwk
from grpcmesh.auth.verifier import MIN_INTERVAL
from grpcmesh.errors import Unauthenticated
from grpcmesh.testing.clock import VirtualClock, run_in_virtual_time
from tests.unit.fakes import samples
from tests.unit.tokenskit import CONFIG, ED, NOW, P256, RSA, Published, forge


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
