"""The issuing side: the user service signs tokens with the newest of its keys."""

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
        private_key: Ed25519 or P-256.
        kid: The key id under which its public half is published. Publish it before signing with it.
        config: Issuer and audience.
        clock: Unix seconds.
    """

    def __init__(
        self, private_key: PrivateKey, kid: str, config: AuthConfig, clock: Clock = time.time
    ) -> None:
        self._key, self._kid, self._config, self._clock = private_key, kid, config, clock
        self._algorithm = algorithm_of(private_key)

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
        """A signed token.

        Args:
            user_id: Of whom it speaks.
            name: For people.
            roles: Of the user.
            lifetime: Seconds from now.
            session: The log-in that it belongs to (`sid`), by which it can be revoked.
            audience: The only server that accepts it; "": the common audience, which all of them accept.
            issued_at: Unix seconds; None: now. Of a token that is made of another, the other's, so that what
                revokes the one revokes both.
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
