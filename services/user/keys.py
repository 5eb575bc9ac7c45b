"""The keys that sign tokens: PEM files in a directory, reloaded when they change."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from grpcmesh.auth import PublicKey, TokenIssuer
from grpcmesh.call import Principal
from grpcmesh.config import AuthConfig, ConfigError
from services.user.domain import User

#: Poll interval of the directory, in seconds.
POLL_INTERVAL = 1.0
#: Added to the verifiers' refresh interval, for the fetch itself.
_MARGIN = 5.0
_log = logging.getLogger(__name__)


class SigningKeys:
    """Implements the port `Issuer`, and a `grpcmesh.auth.KeySource` of its public keys.

    The newest key by name signs, and all are published. A key that appears while the process runs is
    published at once, but signs only after every verifier has had the time to fetch it, so a rotation fails
    no call. Keys that are present at the start sign at once.

    Args:
        directory: Holds `KID.pem`, Ed25519 private keys.
        config: Issuer, audience, and how often verifiers fetch.
        clock: Monotonic seconds.
        now: Unix seconds, for the times in signed tokens.
    """

    def __init__(
        self,
        directory: Path,
        config: AuthConfig,
        clock: Callable[[], float],
        now: Callable[[], float] = time.time,
    ) -> None:
        self._directory, self._config, self._clock, self._now = directory, config, clock, now
        self._contents: Mapping[str, bytes] = {}
        self._keys: dict[str, Ed25519PrivateKey] = {}
        self._signs_from: dict[str, float] = {}

    def load(self) -> None:
        """Read the directory for the first time.

        Raises:
            ConfigError: there is no key, or one that cannot be read.
        """
        try:
            self._adopt(self._read(), delay=0.0)
        except (OSError, ValueError) as e:
            raise ConfigError([f"MESHMART_SIGNING_KEYS_DIR={self._directory}: {e}"]) from e

    async def watch(self) -> None:
        """Reload the directory when it changes, until cancelled.

        If it cannot be read, log that and keep the keys.
        """
        told = ""
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            try:
                contents = await asyncio.to_thread(self._read)
                if contents != self._contents:
                    self._adopt(contents, delay=self._config.refresh_interval + _MARGIN)
                told = ""
            except (OSError, ValueError) as e:
                if str(e) != told:
                    told = str(e)
                    _log.warning("signing keys not reloaded: %s", told)

    @property
    def signing_kid(self) -> str:
        """Return the id of the key that signs now."""
        now = self._clock()
        ready = [kid for kid in self._keys if self._signs_from[kid] <= now]
        # If every old key has been removed, a new one signs before its time.
        return max(ready or self._keys)

    @property
    def published(self) -> Mapping[str, PublicKey]:
        """Return all public keys, by key id."""
        return {kid: key.public_key() for kid, key in sorted(self._keys.items())}

    async def fetch(self) -> Mapping[str, PublicKey]:
        """Return all public keys, by key id, as a `grpcmesh.auth.KeySource` does."""
        return self.published

    def issue(self, user: User, lifetime: int, session: str = "") -> str:
        kid = self.signing_kid
        issuer = TokenIssuer(self._keys[kid], kid, self._config, self._now)
        return issuer.issue(user.id, user.name, user.roles, lifetime, session)

    def narrow(self, principal: Principal, audience: str, lifetime: int) -> str:
        """Return a token for one service, with the user and the log-in session of another token."""
        kid = self.signing_kid
        issuer = TokenIssuer(self._keys[kid], kid, self._config, self._now)
        user = principal.user_id, principal.name, principal.roles
        return issuer.issue(
            *user, lifetime, principal.session, audience=audience, issued_at=principal.issued_at
        )

    def _read(self) -> Mapping[str, bytes]:
        contents = {path.stem: path.read_bytes() for path in self._directory.glob("*.pem")}
        if not contents:
            raise ValueError("no *.pem file in it")
        return contents

    def _adopt(self, contents: Mapping[str, bytes], delay: float) -> None:
        keys = {kid: _parse(kid, pem) for kid, pem in contents.items()}
        from_when = self._clock() + delay
        self._signs_from = {kid: self._signs_from.get(kid, from_when) for kid in keys}
        self._contents, self._keys = contents, keys


def _parse(kid: str, pem: bytes) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as e:
        raise ValueError(f"{kid}.pem is not a private key") from e
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{kid}.pem is not an Ed25519 key")
    return key
