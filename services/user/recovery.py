"""Recovery of forgotten passwords: a code by e-mail, valid once and for half an hour."""

import secrets
from collections.abc import Callable
from typing import Protocol

from grpcmesh.errors import FailedPrecondition, ResourceExhausted
from services.kit.validation import checking
from services.user.accounts import Accounts
from services.user.domain import Attempts, Origin, SessionStore, SessionUnit, User, UserStore
from services.user.logins import MAX_LOGIN, MAX_SECRET
from services.user.sessions import digest_of
from services.user.users import check_password

#: Seconds for which a code is valid.
LIFETIME = 30 * 60
#: The most letters to one user within `LIFETIME`, whoever requests them.
MAX_LETTERS = 3
#: The account name under which requests are counted beside failed log-ins.
_PURPOSE = "password reset"


class Post(Protocol):
    """Port: sends letters."""

    async def send_code(self, user: User, code: str) -> None:
        """Send a code to a user. May raise any error."""
        ...


class Recovery:
    """Replaces forgotten passwords.

    Args:
        users, sessions, attempts: The ports.
        accounts: Replaces passwords.
        clock: Returns the time in Unix seconds.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: SessionStore,
        attempts: Attempts,
        accounts: Accounts,
        clock: Callable[[], float],
    ) -> None:
        self._users, self._sessions, self._attempts = users, sessions, attempts
        self._accounts, self._clock = accounts, clock

    async def request(self, login: str, address: str) -> None:
        """Send a code to the user's email address, if the user exists and may log in.

        The caller learns nothing about that, neither from the answer nor from the number of requests that are
        allowed.

        Raises:
            InvalidArgument: the login is empty or too long.
            ResourceExhausted: too many requests for this account from this address, or from this address in
                all.
        """
        with checking() as check:
            login = check.text("login", login, least=1, most=MAX_LOGIN)
        await self._count(Origin(address, f"{_PURPOSE} {login}"))
        account = await self._users.find(login)

        def ask(unit: SessionUnit) -> None:
            if account is not None and account.user.is_active:
                unit.ask_for_code(account.user.id, int(self._clock()), LIFETIME, MAX_LETTERS)

        await self._sessions.at_once(ask)

    async def send(self, user_id: int, post: Post) -> None:
        """Create a new code and send it. Has no effect if the user does not exist or is suspended."""
        user = await self._users.get(user_id)
        if user is None or not user.is_active:
            return
        code = secrets.token_urlsafe(32)
        expires_at = int(self._clock()) + LIFETIME
        await self._sessions.at_once(lambda unit: unit.add_code(user_id, digest_of(code), expires_at))
        await post.send_code(user, code)

    async def reset(self, code: str, new: str, address: str) -> None:
        """Replace the password of the user that a code was sent to, and end all its log-ins.

        Raises:
            InvalidArgument: the code is empty or too long, or the new password is missing, too short or too
                long.
            FailedPrecondition: the code is wrong, used or too old.
            ResourceExhausted: too many wrong codes from this address.
        """
        with checking() as check:
            code = check.text("code", code, least=1, most=MAX_SECRET)
            check.that(bool(new), "new_password", "must be given")
            check_password(check, "new_password", new)
        origin, digest = Origin(address, _PURPOSE), digest_of(code)
        await self._wait(origin)
        user_id = await self._sessions.at_once(lambda unit: unit.code(digest, int(self._clock())))
        if user_id is None:
            await self._attempts.failed(origin, self._clock())
            raise _refused()
        if await self._accounts.replace_password(user_id, new, origin, code=digest) is None:
            raise _refused()  # it was used a moment ago

    async def _count(self, origin: Origin) -> None:
        """Count a request, as a wrong password is counted. Raises ResourceExhausted if there are too many."""
        await self._wait(origin)
        await self._attempts.failed(origin, self._clock())

    async def _wait(self, origin: Origin) -> None:
        if wait := await self._attempts.wait(origin, self._clock()):
            raise ResourceExhausted("too many tries; wait before the next", retry_after=wait)


def _refused() -> FailedPrecondition:
    return FailedPrecondition("the code is wrong, or was used, or is too old", "RESET_CODE")
