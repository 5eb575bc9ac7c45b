"""Issues tokens: the user service signs them with the newest of its keys."""

import secrets
import time
from collections.abc import Iterable
from typing import Any

import jwt

from grpcmesh.auth.keys import PrivateKey, algorithm_of
from grpcmesh.clock import Clock
from grpcmesh.config import AuthConfig


class TokenIssuer:
    """Signs tokens.

    Args:
        private_key: An Ed25519 or P-256 key.
        kid: The key id under which the public key is published. Publish it before signing with it.
        config: Issuer and audience.
        clock: Returns unix seconds.

    Raises:
        ValueError: The key is neither Ed25519 nor on P-256.
        ConfigError: `config` names no issuer or no audience.
    """

    def __init__(
        self, private_key: PrivateKey, kid: str, config: AuthConfig, clock: Clock = time.time
    ) -> None:
        self._key, self._kid, self._config, self._clock = private_key, kid, config, clock
        self._algorithm = algorithm_of(private_key)
        config.require_own_issuer()

    def issue(
        self,
        user_id: int,
        name: str,
        roles: Iterable[str],
        lifetime: float,
        session: str = "",
        *,
        audience: str = "",
        issued_at: float | None = None,
    ) -> str:
        """Return a signed token.

        Args:
            user_id: Id of the user (`sub`).
            name: Name of the user, for people.
            roles: Roles of the user.
            lifetime: Seconds from now until it expires.
            session: Id of the log-in that it belongs to (`sid`), by which it can be revoked.
            audience: The only server that accepts the token. If empty, the common audience, which every
                server accepts.
            issued_at: Unix seconds; None means now. For a token made from another one, pass that token's
                time, so that a revocation of one revokes both.
        """
        now = int(self._clock())
        claims: dict[str, Any] = {
            "iss": self._config.issuer,
            "aud": audience or self._config.audience,
            "sub": str(user_id),
            "name": name,
            "roles": sorted(roles),
            "iat": now if issued_at is None else int(issued_at),
            "exp": now + int(lifetime),
            "jti": secrets.token_urlsafe(12),
        }
        if session:
            claims["sid"] = session
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers={"kid": self._kid})
