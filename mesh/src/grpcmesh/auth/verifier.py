"""Verifies tokens: signature, issuer, audience, expiry and roles. Caches results until the token expires."""

import asyncio
import contextlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

import jwt
from prometheus_client import Metric

from grpcmesh.auth import metrics
from grpcmesh.auth.claims import ClaimRules, ExpiredError, read_claims
from grpcmesh.auth.keys import KeySource, PublicKey, algorithm_of
from grpcmesh.auth.trusted import MIN_INTERVAL, TrustedIssuer
from grpcmesh.bad_values import bad_values
from grpcmesh.call import Principal
from grpcmesh.clock import Clock
from grpcmesh.config import AuthConfig
from grpcmesh.errors import Unauthenticated, Unavailable

__all__ = ["MIN_INTERVAL", "TokenVerifier"]

#: The longest token that is accepted, in characters. It bounds the size of the cache.
_LONGEST_TOKEN = 8192
_REQUIRED = ["iss", "aud", "exp", "sub"]
#: The types of tokens that name a user. Others of the same issuer, such as log-out tokens, have the same
#: claims (RFC 8725, 3.11). Tokens without a type are accepted.
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})
#: Exceptions that a malformed token causes in the libraries that read it, for example by JSON nested too
#: deeply, numbers too large, or invalid characters.
_MALFORMED = (
    jwt.PyJWTError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError,
)  # fmt: skip

_log = logging.getLogger(__name__)


class TokenVerifier:
    """Verifies tokens without waiting. `watch` fetches the keys in the background.

    Args:
        config: The issuers, audiences, leeway, and the size of the cache.
        source: Source of the keys of `config.issuer`. While it is None, that issuer's tokens are refused. The
            attribute may be set later.
        clock: Returns unix seconds.
        own: An audience of this server alone, such as its SPIFFE id. Tokens for it are accepted beside those
            for the audiences of `config`, and no other server accepts them. If empty, there is none.
        monotonic: Returns monotonic seconds, by which keys age.

    Raises:
        ConfigError: There is a source, but `config` names no issuer or no audience. Also if it is set later.
    """

    def __init__(
        self,
        config: AuthConfig,
        source: KeySource | None = None,
        clock: Clock = time.time,
        own: str = "",
        monotonic: Clock = time.monotonic,
    ) -> None:
        self._config, self._clock, self._monotonic = config, clock, monotonic
        self._own = [own] if own else []
        numeric = config.subjects == "number"
        rules = ClaimRules(config.issuer, numeric, config.roles_claim, roles_required=numeric)
        self._main = self._trust(rules, [config.audience], None)
        self.source = source
        self._issuers = {config.issuer: self._main, **self._providers()}
        for trusted in self._issuers.values():
            trusted.on_change = self._changed
        #: Called when a revocation list has changed.
        self.on_revoked: Callable[[], object] = bool
        self._cache: OrderedDict[str, Principal] = OrderedDict()
        self._counts = {"cached": 0, "verified": 0, "rejected": 0, "no_keys": 0}

    @property
    def source(self) -> KeySource | None:
        """Return the source of the keys of `config.issuer`."""
        return self._main.source

    @source.setter
    def source(self, source: KeySource | None) -> None:
        if source is not None:
            self._config.require_own_issuer()
        self._main.source = source

    @property
    def accepts_tokens(self) -> bool:
        """Return whether any issuer has a source of keys."""
        return any(trusted.source is not None for trusted in self._issuers.values())

    def verify(self, token: str) -> Principal:
        """Return the user of a token.

        Raises:
            Unauthenticated: The token is bad, expired, revoked, or signed with an unknown key. In the last
                case the keys are fetched again soon.
            Unavailable: There are no keys, or they are too old. The caller may retry.
        """
        principal = self._cache.get(token)
        if (
            principal is not None
            and principal.expires_at > self._clock() - self._config.leeway
            and self._issuers[principal.issuer].usable
        ):
            self._counts["cached"] += 1
            return principal
        try:
            self._require_keys()
            principal = self._decode(token)
        except Unauthenticated:
            self._counts["rejected"] += 1
            raise
        self._counts["verified"] += 1
        self._remember(token, principal)
        return principal

    async def start(self, timeout: float) -> bool:
        """Fetch the keys of all issuers side by side, with retries. Return whether that succeeded.

        Args:
            timeout: Seconds for which the first keys are waited for. Once there are those of an issuer, the
                others have only `config.fetch_timeout` in all, so that one of many that is down delays
                nobody for long.
        """
        sourced = self._sourced()
        soon = asyncio.get_running_loop().time() + min(timeout, self._config.fetch_timeout)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout) as limit:

                async def first_keys(trusted: TrustedIssuer) -> None:
                    await trusted.start()
                    if not all(t.usable for t in sourced):
                        limit.reschedule(soon)

                await asyncio.gather(*map(first_keys, sourced))
                return True
        lacking = [t.rules.issuer for t in sourced if not t.usable]
        _log.warning("started without the keys of the token issuer %s", ", ".join(lacking))
        return False

    async def refresh(self) -> bool:
        """Fetch the keys of all issuers now. Return whether that succeeded.

        A failure is counted and logged, and the old keys stay.
        """
        fetched = await asyncio.gather(*(trusted.refresh() for trusted in self._sourced()))
        return bool(fetched) and all(fetched)

    async def watch(self) -> None:
        """Fetch the keys when they are due, and soon when a token names an unknown key, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for trusted in self._sourced():
                group.create_task(trusted.watch())

    def is_revoked(self, principal: Principal) -> bool:
        """Return whether the token of this user has been revoked since it was verified."""
        trusted = self._issuers.get(principal.issuer, self._main)
        return trusted.revocations.cover(principal)

    def collect(self) -> Iterable[Metric]:
        """Yield metrics of tokens and of each issuer's keys."""
        yield from metrics.collect(self._counts, list(self._issuers.values()))

    def _providers(self) -> Mapping[str, TrustedIssuer]:
        """Return the issuers of the settings, by their `iss`."""
        if not self._config.issuers:
            return {}
        from grpcmesh.auth.sources import source_of  # it needs h11, and not every server has such issuers

        config, found = self._config, {}
        for name, issuer in config.issuers.items():
            roles = config.roles_claims.get(name, config.roles_claim)
            rules = ClaimRules(issuer, numeric=False, roles=roles, roles_required=False)
            audiences = config.audiences.get(name, config.audience).split()
            found[issuer] = self._trust(rules, audiences, source_of(config, name))
        return found

    def _trust(self, rules: ClaimRules, audiences: list[str], source: KeySource | None) -> TrustedIssuer:
        config = self._config
        return TrustedIssuer(
            rules,
            [*audiences, *self._own],
            source,
            config.algorithms,
            config.refresh_interval,
            config.stale_limit,
            self._monotonic,
        )

    def _sourced(self) -> list[TrustedIssuer]:
        return [trusted for trusted in self._issuers.values() if trusted.source is not None]

    def _changed(self, trusted: TrustedIssuer) -> None:
        """Void what was verified with an issuer's old keys and revocations."""
        stale = [token for token, user in self._cache.items() if user.issuer == trusted.rules.issuer]
        for token in stale:
            del self._cache[token]
        self.on_revoked()

    def _decode(self, token: str) -> Principal:
        if len(token) > _LONGEST_TOKEN:
            bad_values.count("token")
            raise Unauthenticated("the token is too long")
        try:
            header, trusted = self._header(token)
            claims = self._claims(token, self._key(header, trusted), trusted)
            principal = read_claims(claims, self._clock(), self._config.leeway, trusted.rules)
        except ExpiredError as e:
            raise Unauthenticated("the token has expired") from e
        except _MALFORMED as e:
            bad_values.count("token")
            raise Unauthenticated("the token is not valid") from e
        if trusted.revocations.cover(principal):
            raise Unauthenticated("the token has been revoked")
        return principal

    def _require_keys(self) -> None:
        """Check that there is an issuer whose tokens can be verified, before anything is read from one.

        Raises:
            Unauthenticated: No issuer has a source of keys.
            Unavailable: The keys of no issuer are known.
        """
        sourced = self._sourced()
        if not sourced:
            raise Unauthenticated("tokens are not accepted here")
        if not any(trusted.usable for trusted in sourced):
            self._lack_keys(*sourced)

    def _lack_keys(self, *lacking: TrustedIssuer) -> NoReturn:
        self._counts["no_keys"] += 1
        for trusted in lacking:
            trusted.want()
        raise Unavailable("tokens cannot be verified yet", retry_after=MIN_INTERVAL)

    def _header(self, token: str) -> tuple[Mapping[str, Any], TrustedIssuer]:
        """Return a token's header, and the issuer that it claims to be of, whose keys then have to prove it.

        Raises:
            Unauthenticated: That issuer's tokens are not accepted.
            Unavailable: Its keys are not known.
        """
        unverified = jwt.decode_complete(token, options={"verify_signature": False})
        header, issuer = unverified["header"], unverified["payload"].get("iss")
        if str(header.get("typ", "JWT")).lower() not in _TYPES:
            raise jwt.InvalidTokenError("typ")
        trusted = self._issuers.get(issuer) if isinstance(issuer, str) else None
        if trusted is None:
            raise jwt.InvalidIssuerError("iss")
        if trusted.source is None:
            raise Unauthenticated("tokens are not accepted here")
        if not trusted.usable:
            self._lack_keys(trusted)
        return header, trusted

    def _key(self, header: Mapping[str, Any], trusted: TrustedIssuer) -> PublicKey:
        key = trusted.key(header)
        if key is None:
            trusted.want()
            raise Unauthenticated("the token is signed with an unknown key")
        return key

    def _claims(self, token: str, key: PublicKey, trusted: TrustedIssuer) -> dict[str, Any]:
        # The algorithm follows from the key, never from the token. Types and times are read by our rules.
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[algorithm_of(key)],
            audience=trusted.audiences,
            issuer=trusted.rules.issuer,
            options={"require": _REQUIRED, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return claims

    def _remember(self, token: str, principal: Principal) -> None:
        self._cache[token] = principal
        self._cache.move_to_end(token)
        while len(self._cache) > self._config.cache_size:
            self._cache.popitem(last=False)
