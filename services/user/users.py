"""The use cases of users: what may be done, by whom, with which values."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from grpcmesh.errors import NotFound, PermissionDenied
from services.kit.actor import Actor
from services.kit.intake import entry
from services.kit.paging import Listing, Paged, Slice
from services.kit.text import fold
from services.kit.validation import Check, checking
from services.manifest import ROLES
from services.user.domain import Address, NewUser, Origin, Passwords, User, UserStore
from services.user.profiles import profile_of

MAX_NAME = 200
#: RFC 5321, 4.5.3.1, less the angle brackets.
MAX_EMAIL = 254
MIN_PASSWORD = 8
MAX_PASSWORD = 256
MAX_AGE = 150
#: The most users registered at once: hashing a password takes a quarter of a second.
MAX_BATCH = 100
#: The address that batches count under when turns to hash passwords are shared out.
_BATCH = "batch"

#: The listing of all users.
EVERYBODY = Listing("users")

_LOCAL = r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*"
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"(?=.{{1,64}}@){_LOCAL}@{_LABEL}(?:\.{_LABEL})+")


@dataclass(frozen=True, slots=True)
class Registration:
    """The unchecked values of a new user."""

    name: str
    email: str
    password: str = ""
    age: int = 0
    roles: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Registration({self.name!r})"  # a password is never printed


class Users:
    """The use cases of users. Users act for themselves, admins for anyone.

    Methods raise InvalidArgument for malformed arguments.
    """

    def __init__(self, store: UserStore, passwords: Passwords) -> None:
        self._store, self._passwords = store, passwords

    async def get(self, actor: Actor, user_id: int) -> User:
        """Return a user. Raises NotFound or PermissionDenied."""
        with checking() as check:
            check.id("id", user_id)
        actor.require_self_or_admin(user_id)
        return _found(await self._store.get(user_id), user_id)

    async def page(self, actor: Actor, wanted: Paged) -> Slice[User]:
        """Return a page of users, ordered by id. Raises PermissionDenied unless the actor is an admin."""
        actor.require_admin()
        with checking() as check:
            page = EVERYBODY.page(check, wanted)
        return await self._store.page(page)

    async def register(self, actor: Actor, said: Registration, address: str = "") -> User:
        """Register a user. Anybody may do that; only an admin may give roles.

        Raises:
            AlreadyExists: the name or the email is taken.
            PermissionDenied: the actor gives roles but is not an admin.
            ResourceExhausted: too many clients register at once from this address.
        """
        with checking() as check:
            user = _new(check, said)
        if set(user.roles) - {"user"} and not actor.is_admin:
            raise PermissionDenied("only an admin gives roles", "ROLE_REQUIRED", role="admin")
        return await self._store.add(await self._hashed(user, said, address))

    async def register_admin(self, said: Registration) -> User:
        """Register an admin, on behalf of the operator. Raises AlreadyExists."""
        with checking() as check:
            check.that(bool(said.password), "password", "must be given")
            user = replace(_new(check, said), roles=("user", "admin"))
        return await self._store.add(await self._hashed(user, said, ""))

    async def register_all(self, actor: Actor, batch: Sequence[Registration]) -> Sequence[User]:
        """Register all users or none, and return them in order.

        Raises:
            InvalidArgument: names what is wrong as `requests[INDEX].FIELD`, including a name or email that
                occurs twice.
            AlreadyExists: names every name or email that is taken.
            PermissionDenied: the actor is not an admin.
        """
        actor.require_admin()
        with checking() as check:
            users = [_entry(check, index, said) for index, said in enumerate(batch)]
            _check_twice(check, "name", [user.name for user in users])
            _check_twice(check, "email", [user.email for user in users])
        # One after the other: hashing is slow on purpose, and log-ins need their turns, too.
        hashed = [await self._hashed(user, said, _BATCH) for user, said in zip(users, batch, strict=True)]
        return await self._store.add_all(hashed) if hashed else []

    async def _hashed(self, user: NewUser, said: Registration, address: str) -> NewUser:
        if not said.password:
            return user
        return replace(user, password_hash=await self._passwords.hash(said.password, Origin(address, "")))

    async def set_profile(
        self,
        actor: Actor,
        user_id: int,
        address: Address | None,
        phone_numbers: Sequence[str],
        metadata: Mapping[str, str],
    ) -> User:
        """Replace a user's profile. Raises NotFound or PermissionDenied."""
        with checking() as check:
            check.id("id", user_id)
            profile = profile_of(check, address, phone_numbers, metadata)
        actor.require_self_or_admin(user_id)
        return _found(await self._store.set_profile(user_id, profile), user_id)

    async def rename(self, actor: Actor, user_id: int, name: str, email: str) -> User:
        """Replace a user's name and email. Raises NotFound, AlreadyExists or PermissionDenied."""
        with checking() as check:
            check.id("id", user_id)
            name, email = _name(check, name), _email(check, email)
        actor.require_self_or_admin(user_id)
        return _found(await self._store.rename(user_id, name, email), user_id)

    async def delete(self, actor: Actor, user_id: int) -> None:
        """Delete a user and everything about it. Raises NotFound or PermissionDenied."""
        with checking() as check:
            check.id("id", user_id)
        actor.require_self_or_admin(user_id)
        if not await self._store.remove(user_id):
            raise NotFound("user", str(user_id))


def _found(user: User | None, user_id: int) -> User:
    if user is None:
        raise NotFound("user", str(user_id))
    return user


def _entry(check: Check, index: int, said: Registration) -> NewUser:
    with entry(check, index) as inner:
        return _new(inner, said)


def _new(check: Check, said: Registration) -> NewUser:
    """Check a registration. The hash is computed later, so that a rejected request costs none."""
    name, email = _name(check, said.name), _email(check, said.email)
    check_password(check, "password", said.password)
    age = check.integer("age", said.age, most=MAX_AGE)
    return NewUser(name, email, age, check_roles(check, said.roles), None)


def _check_twice(check: Check, field: str, values: Sequence[str]) -> None:
    first: dict[str, int] = {}
    for index, value in enumerate(values):
        before = first.setdefault(fold(value), index)
        check.that(
            before == index or not value, f"requests[{index}].{field}", f"is that of requests[{before}]"
        )


def _name(check: Check, value: str) -> str:
    name = check.text("name", value, least=1, most=MAX_NAME)
    # Otherwise the name could be taken for another user's email at log-in.
    check.that("@" not in name, "name", "must not contain @")
    return name


def _email(check: Check, value: str) -> str:
    email = check.text("email", value, least=1, most=MAX_EMAIL)
    if email and not any(v.field == "email" for v in check.violations):
        check.that(_EMAIL.fullmatch(email) is not None, "email", "must be an email address")
    return email


def check_password(check: Check, field: str, value: str) -> None:
    """Record what is wrong with a new password. An empty one means that there is none."""
    if value:
        fits = MIN_PASSWORD <= len(value) <= MAX_PASSWORD
        check.that(fits, field, f"must have from {MIN_PASSWORD} to {MAX_PASSWORD} characters")


def check_roles(check: Check, roles: Sequence[str]) -> tuple[str, ...]:
    """Return the roles, each once, and record what is wrong in `check`. No roles means "user"."""
    check.that(len(roles) <= len(ROLES), "roles", f"must be at most {len(ROLES)}")
    for i, role in enumerate(roles[: len(ROLES)]):
        check.that(role in ROLES, f"roles[{i}]", f"must be one of {', '.join(ROLES)}")
    return tuple(dict.fromkeys(roles)) or ("user",)
