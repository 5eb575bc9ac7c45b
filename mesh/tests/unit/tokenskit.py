"""Tokens, their issuer and a verifier, for the tests of `grpcmesh.auth`."""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from grpcmesh.auth import PublicKey, StaticKeys, TokenIssuer, TokenVerifier
from grpcmesh.config import AuthConfig
from grpcmesh.errors import Unauthenticated
from grpcmesh.testing.clock import VirtualClock
from tests.unit.fakes import TOKENS

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
