"""Verifies tokens: signature, issuer, audience, expiry and roles. Caches results until the token expires."""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import jwt
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.auth.claims import ExpiredError, read_claims
from grpcmesh.auth.keys import KeySource, PublicKey, algorithm_of
from grpcmesh.auth.revocation import Revocations
from grpcmesh.bad_values import bad_values
from grpcmesh.call import Principal
from grpcmesh.clock import Clock
from grpcmesh.config import AuthConfig
from grpcmesh.errors import Unauthenticated, Unavailable

#: Least seconds between two fetches that unknown key ids cause.
MIN_INTERVAL = 1.0
#: Seconds between two fetches before the first success.
RETRY_INTERVAL = 0.2
#: The longest token that is accepted, in characters. It bounds the size of the cache.
_LONGEST_TOKEN = 8192
_REQUIRED = ["iss", "aud", "exp", "sub", "roles"]
#: Exceptions that a malformed token causes in the libraries that read it, for example by JSON nested too
#: deeply, numbers too large, or invalid characters.
_MALFORMED = (
    jwt.PyJWTError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip

_log = logging.getLogger(__name__)


class TokenVerifier:
    """Verifies tokens without waiting. `watch` fetches the keys in the background.

    Args:
        config: Issuer, audience, leeway, and the size of the cache.
        source: Source of the keys. While it is None, every token is refused. The attribute may be set later.
        clock: Returns unix seconds.
        own: An audience of this server alone, such as its SPIFFE id. Tokens for it are accepted beside those
            for the common audience of `config`, and no other server accepts them. If empty, there is none.
    """

    def __init__(
        self,
        config: AuthConfig,
        source: KeySource | None = None,
        clock: Clock = time.time,
        own: str = "",
    ) -> None:
        self.source = source
        self._audiences = [config.audience, own] if own else [config.audience]
        self._config, self._clock = config, clock
        self._keys: Mapping[str, PublicKey] = {}
        self._fetched = False
        self._revocations = Revocations()
        #: Called when the revocation list has changed.
        self.on_revoked: Callable[[], object] = bool
        self._cache: OrderedDict[str, Principal] = OrderedDict()
        self._wanted = asyncio.Event()
        self._counts = {"cached": 0, "verified": 0, "rejected": 0, "no_keys": 0}
        self._fetches = {"success": 0, "error": 0}

    def verify(self, token: str) -> Principal:
        """Return the user of a token.

        Raises:
            Unauthenticated: The token is bad, expired, revoked, or signed with an unknown key. In the last
                case the keys are fetched again soon.
            Unavailable: No keys have been fetched yet. The caller may retry.
        """
        principal = self._cache.get(token)
        if principal is not None and principal.expires_at > self._clock() - self._config.leeway:
            self._counts["cached"] += 1
            return principal
        if self.source is None:
            raise Unauthenticated("tokens are not accepted here")
        if not self._fetched:
            self._counts["no_keys"] += 1
            self._wanted.set()
            raise Unavailable("tokens cannot be verified yet", retry_after=MIN_INTERVAL)
        try:
            principal = self._decode(token)
        except Unauthenticated:
            self._counts["rejected"] += 1
            raise
        self._counts["verified"] += 1
        self._remember(token, principal)
        return principal

    async def start(self, timeout: float) -> bool:
        """Fetch the keys, with retries for at most `timeout` seconds. Return whether that succeeded."""
        try:
            async with asyncio.timeout(timeout):
                while not await self.refresh():  # noqa: ASYNC110 - the event is another process's
                    await asyncio.sleep(RETRY_INTERVAL)
        except TimeoutError:
            _log.warning("started without the keys of the token issuer")
            return False
        return True

    async def refresh(self) -> bool:
        """Fetch the keys now. Return whether that succeeded.

        A failure is counted and logged, and the old keys stay.
        """
        if self.source is None:
            return False
        try:
            keys = dict(await self.source.fetch())
        except Exception as e:  # whatever a source raises: verification goes on with what is known
            self._fetches["error"] += 1
            _log.warning("keys of the token issuer not fetched: %s", type(e).__name__)
            return False
        self._fetches["success"] += 1
        if keys.keys() != self._keys.keys() or any(keys[kid] != self._keys[kid] for kid in keys):
            self._cache.clear()  # what was signed with a key that was withdrawn is void at once
        self._keys, self._fetched = keys, True
        self._revoke(Revocations(getattr(self.source, "revocations", ())))
        return True

    def is_revoked(self, principal: Principal) -> bool:
        """Return whether the token of this user has been revoked since it was verified."""
        return self._revocations.cover(principal)

    def _revoke(self, revocations: Revocations) -> None:
        if revocations != self._revocations:
            self._revocations = revocations
            self._cache.clear()
            self.on_revoked()

    async def watch(self) -> None:
        """Fetch the keys at each interval, and soon when a token names an unknown key, until cancelled."""
        while True:
            interval = self._config.refresh_interval if self._fetched else RETRY_INTERVAL
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wanted.wait(), interval)
            self._wanted.clear()
            await self.refresh()
            await asyncio.sleep(MIN_INTERVAL if self._fetched else 0)

    def collect(self) -> Iterable[Metric]:
        tokens = CounterMetricFamily("mesh_auth_tokens", "User tokens checked, by result.", labels=["result"])
        for result, count in self._counts.items():
            tokens.add_metric([result], count)
        fetches = CounterMetricFamily("mesh_auth_key_fetches", "Fetches of the key set.", labels=["result"])
        for result, count in self._fetches.items():
            fetches.add_metric([result], count)
        yield tokens
        yield fetches
        yield GaugeMetricFamily("mesh_auth_keys", "Keys that verify tokens.", value=len(self._keys))
        yield GaugeMetricFamily(
            "mesh_auth_revocations", "Entries of the revocation list.", value=len(self._revocations)
        )

    def _decode(self, token: str) -> Principal:
        if len(token) > _LONGEST_TOKEN:
            bad_values.count("token")
            raise Unauthenticated("the token is too long")
        try:
            key = self._key(jwt.get_unverified_header(token))
            principal = read_claims(self._claims(token, key), self._clock(), self._config.leeway)
        except ExpiredError as e:
            raise Unauthenticated("the token has expired") from e
        except _MALFORMED as e:
            bad_values.count("token")
            raise Unauthenticated("the token is not valid") from e
        if self._revocations.cover(principal):
            raise Unauthenticated("the token has been revoked")
        return principal

    def _key(self, header: Mapping[str, Any]) -> PublicKey:
        kid = header.get("kid")
        key = self._keys.get(kid) if isinstance(kid, str) else None
        if key is None:
            self._wanted.set()
            raise Unauthenticated("the token is signed with an unknown key")
        return key

    def _claims(self, token: str, key: PublicKey) -> dict[str, Any]:
        # The algorithm follows from the key, never from the token. Types and times are read by our rules.
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm_of(key)],
            audience=self._audiences,
            issuer=self._config.issuer,
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return claims

    def _remember(self, token: str, principal: Principal) -> None:
        self._cache[token] = principal
        self._cache.move_to_end(token)
        while len(self._cache) > self._config.cache_size:
            self._cache.popitem(last=False)
