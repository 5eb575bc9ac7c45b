"""A token that a service was given is good nowhere else."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from grpcmesh.auth import Revocation, TokenVerifier
from grpcmesh.call import Principal, Workload
from grpcmesh.config import AuthConfig
from grpcmesh.errors import InvalidArgument, PermissionDenied, Unauthenticated
from local.catalog import AUDIENCE, ISSUER
from services.user.domain import User
from services.user.exchanges import ALLOWED, SERVICES, Exchanges
from services.user.keys import SigningKeys
from tests.unit.services.test_least_privilege import WORKLOADS, calls

CONFIG = AuthConfig(ISSUER, AUDIENCE)
NOW = 1_000.0
BOB = User(2, "bob", "bob@example.com", 1, 0, ("user",), 0)


def workload(service: str) -> Workload:
    return Workload("test", "shop", service)


class Keys:
    """The signing keys, and what verifies with them at a service."""

    def __init__(self, directory: Path) -> None:
        pem = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        (directory / "k1.pem").write_bytes(pem)
        self.signing = SigningKeys(directory, CONFIG, lambda: 0.0, lambda: NOW)
        self.signing.load()
        self.exchanges = Exchanges(self.signing, lambda: NOW)

    async def at(self, service: str) -> TokenVerifier:
        verifier = TokenVerifier(CONFIG, self.signing, lambda: NOW, own=str(workload(service)))
        assert await verifier.refresh()
        return verifier


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path)


async def test_what_one_service_was_given_no_other_accepts(keys: Keys) -> None:
    common = keys.signing.issue(BOB, 600, "a log-in")
    principal = (await keys.at("user")).verify(common)
    for service in sorted(ALLOWED["storefront"]):
        token, lifetime = keys.exchanges.exchange(workload("storefront"), principal, service)
        for other in sorted(SERVICES):
            verifier = await keys.at(other)
            if other == service:
                assert verifier.verify(token) == principal
            else:
                with pytest.raises(Unauthenticated):
                    verifier.verify(token)
        assert lifetime == 600
    for service in sorted(SERVICES):  # clients of the contract go on with what Login gave them
        assert (await keys.at(service)).verify(common) == principal


async def test_what_ends_a_log_in_ends_the_tokens_that_were_made_of_its_own(keys: Keys) -> None:
    principal = Principal(2, "bob", frozenset({"user"}), NOW + 600, NOW - 60, "a log-in")
    token, _ = keys.exchanges.exchange(workload("storefront"), principal, "order")
    for entry in (Revocation(session="a log-in"), Revocation(user_id=2, issued_until=NOW - 60)):

        class Source:
            revocations = (entry,)
            fetch = keys.signing.fetch

        verifier = TokenVerifier(CONFIG, Source(), lambda: NOW, own=str(workload("order")))
        await verifier.refresh()
        with pytest.raises(Unauthenticated, match="revoked"):
            verifier.verify(token)


@pytest.mark.parametrize("caller", ["storefront", "product", "order", "loadgen"])
def test_a_service_has_tokens_only_for_those_that_it_calls_for_its_users(keys: Keys, caller: str) -> None:
    principal = Principal(2, "bob", frozenset({"user"}), NOW + 600, NOW)
    for service in sorted(SERVICES - ALLOWED.get(caller, frozenset())):
        with pytest.raises(PermissionDenied):
            keys.exchanges.exchange(workload(caller), principal, service)
    with pytest.raises(InvalidArgument):
        keys.exchanges.exchange(workload(caller), principal, "elsewhere")


def test_the_rights_to_exchange_are_those_that_the_code_uses() -> None:
    """Whoever exchanges calls the services that it may have tokens for; nobody else may exchange."""
    for name in WORKLOADS:
        called = {c.removeprefix("ecommerce.").partition("Service/")[0].lower() for c in calls(name)}
        exchanges = "ecommerce.UserService/ExchangeToken" in calls(name)
        assert exchanges == (name in ALLOWED)
        assert ALLOWED.get(name, frozenset()) <= called
