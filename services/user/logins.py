"""Logging in, and staying logged in."""

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from grpcmesh.errors import PermissionDenied, Unauthenticated
from services.kit.validation import Check, checking
from services.user.domain import (
    Issuer,
    Passwords,
    RefreshToken,
    Tokens,
    TokenStore,
    TokenUnit,
    User,
    UserStore,
)

MAX_LOGIN = 254
MAX_SECRET = 1024
#: One text for a login that does not exist and a password that is wrong, so that it tells neither.
_WRONG = "wrong login or password"
_NOT_VALID = "the refresh token is not valid"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """How long tokens are good for, in seconds."""

    access: int = 15 * 60
    refresh: int = 30 * 24 * 3600


class Logins:
    """Exchanges passwords and refresh tokens for tokens.

    Args:
        users, tokens, passwords, issuer: The ports.
        clock: Unix seconds.
        lifetimes: Of what is issued.
    """

    def __init__(
        self,
        users: UserStore,
        tokens: TokenStore,
        passwords: Passwords,
        issuer: Issuer,
        clock: Callable[[], float],
        lifetimes: Lifetimes,
    ) -> None:
        self._users, self._tokens, self._passwords = users, tokens, passwords
        self._issuer, self._clock, self._lifetimes = issuer, clock, lifetimes

    async def login(self, login: str, password: str) -> tuple[User, Tokens]:
        """A new family of tokens.

        Raises:
            InvalidArgument: login or password is empty or far too long.
            Unauthenticated: they do not fit.
            PermissionDenied: they do, but the user is not active.
        """
        with checking() as check:
            login = check.text("login", login, least=1, most=MAX_LOGIN)
            _check_secret(check, "password", password)
        account = await self._users.find(login)
        # Also where there is no account: an answer that comes at once would tell.
        fits = await self._passwords.verify(password, account.password_hash if account else None)
        if account is None or not fits:
            raise Unauthenticated(_WRONG)
        if not account.user.is_active:
            raise PermissionDenied("the account is not active", "ACCOUNT_NOT_ACTIVE")
        user, secret, family = account.user, secrets.token_urlsafe(32), secrets.token_hex(16)

        def begin(unit: TokenUnit) -> None:
            unit.forget_expired(int(self._clock()))
            unit.put(self._token(secret, family, user))

        await self._tokens.at_once(begin)
        return user, self._tokens_of(user, secret)

    async def refresh(self, secret: str) -> Tokens:
        """The next tokens of the family, once.

        A token that comes a second time has been stolen from somebody: its family ends (RFC 9700, 4.14.2).

        Raises:
            InvalidArgument: the token is empty or far too long.
            Unauthenticated: it is unknown, spent or expired, or its user may not log in any more.
        """
        with checking() as check:
            _check_secret(check, "refresh_token", secret)
        following = secrets.token_urlsafe(32)
        user = await self._tokens.at_once(lambda unit: self._rotate(unit, digest_of(secret), following))
        # Outside, because a transaction that raises forgets that the family was revoked.
        if user is None:
            raise Unauthenticated(_NOT_VALID)
        return self._tokens_of(user, following)

    def _rotate(self, unit: TokenUnit, digest: str, following: str) -> User | None:
        """Whose token it is, once `following` has taken its place."""
        token = unit.find(digest)
        if token is None or token.expires_at <= self._clock():
            return None
        user = unit.user(token.user_id)
        if user is None or not user.is_active or not unit.spend(digest):
            unit.revoke(token.family)
            return None
        unit.put(self._token(following, token.family, user))
        return user

    def _token(self, secret: str, family: str, user: User) -> RefreshToken:
        expires_at = int(self._clock()) + self._lifetimes.refresh
        return RefreshToken(digest_of(secret), family, user.id, expires_at)

    def _tokens_of(self, user: User, secret: str) -> Tokens:
        access = self._issuer.issue(user, self._lifetimes.access)
        return Tokens(access, secret, self._lifetimes.access)


def _check_secret(check: Check, field: str, value: str) -> None:
    check.that(0 < len(value) <= MAX_SECRET, field, f"must have from 1 to {MAX_SECRET} characters")


def digest_of(secret: str) -> str:
    """What is kept of a refresh token. It is random enough not to need a slow hash."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
