"""When the keys of an issuer are fetched: as their source says, and never in a tight loop."""

import asyncio
from collections.abc import Mapping

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from grpcmesh.auth import KeyCause, KeysError, PublicKey
from grpcmesh.auth.claims import ClaimRules
from grpcmesh.auth.trusted import TrustedIssuer
from grpcmesh.config import AuthConfig
from grpcmesh.testing.clock import run_in_virtual_time
from tests.unit.fakes import samples
from tests.unit.tokenskit import ED, P256, Published, Shop, forge


class Remote(Published):
    """A source that says for how long its keys are fresh, as one over HTTPS does."""

    least_interval, longest_backoff, fresh_for = 5.0, 30.0, 300.0

    async def fetch(self) -> Mapping[str, PublicKey]:
        self.fetches += 1
        if self.failing:
            raise KeysError(KeyCause.UNREACHABLE, "https://id.example cannot be reached")
        return self.keys


def issuer(source: Published) -> TrustedIssuer:
    loop = asyncio.get_running_loop()
    rules = ClaimRules("https://id.example")
    return TrustedIssuer(rules, ["shop"], source, AuthConfig().algorithms, 30.0, 3600.0, loop.time)


def watched(source: Published, seconds: float, *, unknown: bool = False) -> int:
    """Return how often the keys are fetched in this time, with a flood of unknown key ids if `unknown`."""

    async def scenario() -> int:
        made = issuer(source)
        await made.refresh()
        before, watching = source.fetches, asyncio.create_task(made.watch())
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            if unknown:
                made.want()
            await asyncio.sleep(0.25)
        watching.cancel()
        return source.fetches - before

    return run_in_virtual_time(scenario())


def test_a_source_says_when_its_keys_are_due() -> None:
    assert watched(Remote({"k1": ED.public_key()}), 3000) in (9, 10)


def test_a_flood_of_unknown_key_ids_is_a_fetch_per_interval() -> None:
    assert watched(Remote({"k1": ED.public_key()}), 100, unknown=True) <= 21


def test_a_provider_that_is_down_is_asked_less_and_less() -> None:
    source = Remote({})
    source.failing = True
    assert watched(source, 600, unknown=True) < 60
    assert watched(source, 600) < 60


def test_the_first_keys_are_taken_soon_after_the_provider_is_back() -> None:
    async def scenario() -> None:
        source = Remote({"k1": ED.public_key()})
        source.failing = True
        made = issuer(source)
        watching = asyncio.create_task(made.watch())
        await asyncio.sleep(60)
        assert not made.usable
        source.failing = False
        await asyncio.sleep(Remote.longest_backoff + 1)
        assert made.usable
        assert made.problem is None
        watching.cancel()

    run_in_virtual_time(scenario())


async def test_keys_that_the_allow_list_excludes_are_not_used() -> None:
    source = Published({"k1": ED.public_key(), "k2": P256.public_key()})
    made = TrustedIssuer(ClaimRules(), [], source, ("ES256",), 30, 60)
    assert await made.refresh()
    assert made.keys.keys() == {"k2"}


async def test_a_source_with_a_key_of_no_kind_that_signs_fails_and_the_old_keys_stay() -> None:
    source = Published({"k1": ED.public_key()})
    made = TrustedIssuer(ClaimRules(), [], source, AuthConfig().algorithms, 30, 60)
    assert await made.refresh()
    source.keys = {"k2": ec.generate_private_key(ec.SECP384R1()).public_key()}
    assert not await made.refresh()
    assert made.keys.keys() == {"k1"}


async def test_the_text_of_an_exception_of_the_application_is_not_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    source = Published({})
    source.failing = True
    await TrustedIssuer(ClaimRules("i"), [], source, (), 30, 60).refresh()
    assert "ConnectionError" in caplog.text
    assert "secret" not in caplog.text


def test_metrics_tell_age_and_problem_of_each_issuer() -> None:
    shop = Shop()
    assert shop.verifier.verify(forge()).subject == "7"
    assert "mesh_auth_keys_age_seconds{issuer=https://issuer.example.com}" in samples(shop.verifier)
