"""Log-in, refresh of tokens, and log-out."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from grpcmesh.errors import PermissionDenied, ResourceExhausted, Unauthenticated
from services.kit.validation import Check, checking
from services.user.domain import (
    Account,
    Attempts,
    Issuer,
    Origin,
    Passwords,
    SessionStore,
    SessionUnit,
    Tokens,
    User,
    UserStore,
)
from services.user.sessions import (
    BEFORE_FIRST,
    LoginSession,
    Ticket,
    Verdict,
    after,
    digest_of,
    first,
    judge,
)

MAX_LOGIN = 254
MAX_SECRET = 1024
#: The most log-in sessions of one user; beyond that the oldest ends.
MAX_SESSIONS = 50
#: Seconds by which the clocks of replicas may differ.
SKEW = 60
#: Attempts to advance a family while other replicas advance it, too.
_ATTEMPTS = 2
#: One text for an unknown login and for a wrong password, so that it does not reveal which it was.
_WRONG = "wrong login or password"
_NOT_VALID = "the refresh token is not valid"


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """The lifetimes of tokens, in seconds."""

    access: int = 15 * 60
    refresh: int = 30 * 24 * 3600


class Logins:
    """Exchanges passwords and refresh tokens for tokens.

    Args:
        users, sessions, attempts, passwords, issuer: The ports.
        clock: Returns the time in Unix seconds.
        lifetimes: The lifetimes of issued tokens.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: SessionStore,
        attempts: Attempts,
        passwords: Passwords,
        issuer: Issuer,
        clock: Callable[[], float],
        lifetimes: Lifetimes,
    ) -> None:
        self._users, self._sessions, self._attempts = users, sessions, attempts
        self._passwords = passwords
        self._issuer, self._clock, self._lifetimes = issuer, clock, lifetimes

    async def login(self, login: str, password: str, address: str = "") -> tuple[User, Tokens]:
        """Check a password, and return the user and the first tokens of a new family.

        Args:
            login: A name or an email.
            password: The user's password.
            address: The client's address, by which failures are counted.

        Raises:
            InvalidArgument: login or password is empty or far too long.
            ResourceExhausted: too many failures from this address, or too many log-ins at once.
            Unauthenticated: login and password do not match.
            PermissionDenied: they match, but the user is not active.
        """
        with checking() as check:
            login = check.text("login", login, least=1, most=MAX_LOGIN)
            _check_secret(check, "password", password)
        account = await self.verified(login, password, Origin(address, login))
        if account is None:
            raise Unauthenticated(_WRONG)
        if not account.user.is_active:
            raise PermissionDenied("the account is not active", "ACCOUNT_NOT_ACTIVE")
        tokens = await self.begin(account)
        if tokens is None:
            raise Unauthenticated(_WRONG)
        return account.user, tokens

    async def begin(self, account: Account) -> Tokens | None:
        """Return the first tokens of a new family.

        Returns None if the account was suspended or its password changed after it was read, for example while
        the password was hashed.
        """
        session, ticket = first(account.user.id, self._expiry())

        def add(unit: SessionUnit) -> User | None:
            present = unit.account(account.user.id)
            if present is None or not present.user.is_active:
                return None
            if present.password_hash != account.password_hash:
                return None
            unit.tidy(present.user.id, int(self._clock()), MAX_SESSIONS - 1)
            unit.add(session)
            return present.user

        user = await self._sessions.at_once(add)
        return self._tokens_of(user, ticket) if user else None

    async def verified(self, login: str, password: str, origin: Origin) -> Account | None:
        """Return the account if the password matches, else None. A failure is counted.

        Raises:
            ResourceExhausted: too many failures from this address, or too many log-ins at once.
        """
        await self._require_may_try(origin)
        account = await self._users.find(login)
        # Also if there is no account: a faster answer would reveal that.
        hashed = account.password_hash if account else None
        async with self._passwords.turn(origin):
            # Again: of many that came at once, others have failed while this one waited for its turn.
            await self._require_may_try(origin)
            if not await self._passwords.verify(password, hashed) or account is None:
                await self._attempts.failed(origin, self._clock())
                return None
        await self._attempts.succeeded(origin)
        return account

    async def _require_may_try(self, origin: Origin) -> None:
        if wait := await self._attempts.wait(origin, self._clock()):
            raise ResourceExhausted("too many wrong passwords; wait before the next", retry_after=wait)

    async def refresh(self, token: str) -> Tokens:
        """Return the current tokens of the family, and advance it by one unless that has just happened.

        Repeated within `OVERLAP` seconds, at any replica, it returns the same tokens. A token that arrives
        later than that must have been stolen: its family ends (RFC 9700, 4.14.2).

        Raises:
            InvalidArgument: the token is empty or far too long.
            Unauthenticated: it is unknown, reused or expired, or its user may not log in any more.
        """
        with checking() as check:
            _check_secret(check, "refresh_token", token)
        found = await self._sessions.at_once(lambda unit: self._refresh(unit, token))
        # Outside, because a transaction that raises would roll back the revocation of the family.
        if found is None:
            raise Unauthenticated(_NOT_VALID)
        return self._tokens_of(*found)

    async def logout(self, token: str) -> None:
        """End the family of a refresh token. Has no effect if the token is no longer valid.

        Raises:
            InvalidArgument: the token is empty or far too long.
        """
        with checking() as check:
            _check_secret(check, "refresh_token", token)

        def end(unit: SessionUnit) -> None:
            session, ticket = _look_up(unit, token)
            if ticket and judge(session, ticket, self._clock())[0] is not Verdict.UNKNOWN:
                unit.revoke(ticket.family, self._revoked_until())

        await self._sessions.at_once(end)

    def _refresh(self, unit: SessionUnit, token: str) -> tuple[User, Ticket] | None:
        """Return the user of a token and the current token of its family, or None if the token is not
        valid.
        """
        for _ in range(_ATTEMPTS):
            session, ticket = _look_up(unit, token)
            if session is None or ticket is None:
                return None
            verdict, present = judge(session, ticket, self._clock())
            if verdict is Verdict.UNKNOWN:
                return None
            user = unit.user(session.user_id)
            if verdict is Verdict.REUSED or user is None or not user.is_active:
                unit.revoke(session.family, self._revoked_until())
                return None
            if verdict is Verdict.REPEAT:
                return user, present
            following = after(present, session.key)
            if unit.advance(session, self._moved_on(session, following)):
                return user, following
        return None  # others advanced the family each time: this token counts as not valid

    def _moved_on(self, session: LoginSession, ticket: Ticket) -> LoginSession:
        return replace(
            session,
            number=ticket.number,
            digest=digest_of(ticket.secret),
            rotated_at=int(self._clock()),
            expires_at=self._expiry(),
        )

    def _revoked_until(self) -> int:
        """Return when all issued access tokens have expired, in Unix seconds, including clock skew."""
        return int(self._clock()) + self._lifetimes.access + SKEW

    def _expiry(self) -> int:
        return int(self._clock()) + self._lifetimes.refresh

    def _tokens_of(self, user: User, ticket: Ticket) -> Tokens:
        access = self._issuer.issue(user, self._lifetimes.access, ticket.family)
        return Tokens(access, str(ticket), self._lifetimes.access)


def _look_up(unit: SessionUnit, token: str) -> tuple[LoginSession | None, Ticket | None]:
    """Return the family that a token names, and the parsed token."""
    ticket = Ticket.parse(token)
    if ticket is not None:
        return unit.find(ticket.family), ticket
    adopted = unit.adopt(digest_of(token))
    if adopted is None:
        return None, None
    unit.add(adopted)
    return unit.find(adopted.family), Ticket(adopted.family, BEFORE_FIRST, token)


def _check_secret(check: Check, field: str, value: str) -> None:
    check.that(0 < len(value) <= MAX_SECRET, field, f"must have from 1 to {MAX_SECRET} characters")
