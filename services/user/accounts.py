"""Account changes that end log-ins: suspension, other roles and new passwords."""

from collections.abc import Callable, Sequence

from grpcmesh.errors import FailedPrecondition, NotFound, PermissionDenied
from services.kit.actor import Actor
from services.kit.validation import Check, checking
from services.user.domain import (
    Account,
    Origin,
    Passwords,
    SessionStore,
    SessionUnit,
    Status,
    Tokens,
    User,
    UserStore,
)
from services.user.logins import MAX_LOGIN, SKEW, Lifetimes, Logins
from services.user.users import check_password, check_roles

MAX_REASON = 200


class Accounts:
    """Changes accounts, and ends the log-ins that a change makes invalid.

    Args:
        users, sessions, passwords: The ports.
        logins: Begins log-ins, and counts wrong passwords.
        clock: Returns the time in Unix seconds.
        lifetimes: The lifetimes of tokens: a revocation is listed until the tokens have expired.
    """

    def __init__(
        self,
        users: UserStore,
        sessions: SessionStore,
        passwords: Passwords,
        logins: Logins,
        clock: Callable[[], float],
        lifetimes: Lifetimes,
    ) -> None:
        self._users, self._sessions, self._passwords, self._logins = users, sessions, passwords, logins
        self._clock, self._lifetimes = clock, lifetimes

    async def set_status(self, actor: Actor, user_id: int, login: str, status: int, reason: str) -> User:
        """Suspend a user, or activate it again. The tokens of a suspended user are revoked at once.

        Args:
            actor: An admin or the operator.
            user_id: The user's id; 0 selects the user by `login`.
            login: A name or an email.
            status: The new status.
            reason: The reason, for the audit log.

        Raises:
            InvalidArgument: an argument is malformed.
            PermissionDenied: the actor is not an admin.
            NotFound: there is no such user.
            FailedPrecondition: the actor would change its own account.
        """
        actor.require_admin()
        with checking() as check:
            _check_whose(check, user_id, login)
            check.choice("status", status, [int(s) for s in Status])
            check.text("reason", reason, most=MAX_REASON)

        def change(unit: SessionUnit, found: int) -> None:
            unit.set_status(found, status)
            if status != Status.ACTIVE:
                self._end(unit, found)

        return await self._changed(actor, user_id, login, change)

    async def set_roles(
        self, actor: Actor, user_id: int, login: str, roles: Sequence[str], reason: str
    ) -> User:
        """Replace a user's roles. Its log-ins end, because its tokens carry the old roles.

        Arguments and errors are those of `set_status`.
        """
        actor.require_admin()
        with checking() as check:
            _check_whose(check, user_id, login)
            check.that(bool(roles), "roles", "must not be empty")
            wanted = check_roles(check, roles)
            check.text("reason", reason, most=MAX_REASON)

        def change(unit: SessionUnit, found: int) -> None:
            unit.set_roles(found, wanted)
            self._end(unit, found)

        return await self._changed(actor, user_id, login, change)

    async def change_password(self, actor: Actor, current: str, new: str, address: str) -> Tokens:
        """Replace the actor's own password, end all its log-ins, and begin a new one.

        Raises:
            InvalidArgument: the new password is missing, too short or too long.
            PermissionDenied: the current password is wrong, or the account is not active.
            ResourceExhausted: too many wrong passwords from this address, or too many log-ins at once.
        """
        with checking() as check:
            check.that(bool(new), "new_password", "must be given")
            check_password(check, "new_password", new)
        account, origin = await self._confirmed(actor, current, address)
        changed = await self.replace_password(account.user.id, new, origin)
        tokens = await self._logins.begin(changed) if changed else None
        if tokens is None:
            raise PermissionDenied("the account is not active", "ACCOUNT_NOT_ACTIVE")
        return tokens

    async def confirm(self, actor: Actor, password: str, address: str) -> None:
        """Check that the actor knows its own password. Raises the same errors as `change_password`."""
        await self._confirmed(actor, password, address)

    async def _confirmed(self, actor: Actor, password: str, address: str) -> tuple[Account, Origin]:
        actor.require_user()
        user = await self._users.get(actor.user_id)
        origin = Origin(address, user.email if user else "")
        account = await self._logins.verified(origin.account, password, origin)
        if account is None:
            raise PermissionDenied("the current password is another", "WRONG_PASSWORD")
        return account, origin

    async def replace_password(
        self, user_id: int, new: str, origin: Origin, code: str = ""
    ) -> Account | None:
        """Set a user's password, and end all its log-ins and recovery codes.

        Args:
            user_id: The user.
            new: The password.
            origin: On whose behalf it is set.
            code: If given, the digest of a recovery code that must still be valid.

        Returns:
            The changed account. None if the account does not exist, or the code is not valid any more.
        """
        hashed = await self._passwords.hash(new, origin)

        def change(unit: SessionUnit) -> Account | None:
            if unit.account(user_id) is None:
                return None
            if code and unit.code(code, int(self._clock())) != user_id:
                return None
            unit.set_password(user_id, hashed)
            unit.drop_codes(user_id)
            self._end(unit, user_id)
            return unit.account(user_id)

        return await self._sessions.at_once(change)

    async def _changed(
        self, actor: Actor, user_id: int, login: str, change: Callable[[SessionUnit, int], None]
    ) -> User:
        """Apply a change that an admin makes to another user, and return the user."""
        account = None if user_id else await self._users.find(login)
        found = account.user.id if account else user_id
        if found and found == actor.user_id:
            raise FailedPrecondition("an admin does not lock out itself", "OWN_ACCOUNT")

        def work(unit: SessionUnit) -> User:
            # Raised inside the transaction, so that a change that was not made is not logged as made.
            if not found or unit.account(found) is None:
                raise NotFound("user", login or str(user_id))
            change(unit, found)
            user = unit.user(found)
            assert user is not None
            return user

        return await self._sessions.at_once(work)

    def _end(self, unit: SessionUnit, user_id: int) -> None:
        now = int(self._clock())
        unit.revoke_user(user_id, now, now + self._lifetimes.access + SKEW)


def _check_whose(check: Check, user_id: int, login: str) -> None:
    check.that(user_id > 0 or (user_id == 0 and bool(login)), "id", "must be positive")
    check.text("login", login, most=MAX_LOGIN)
