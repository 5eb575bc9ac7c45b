"""What may be done with users, by whom, with which values."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from mesh.errors import NotFound, PermissionDenied
from services.kit.actor import Actor
from services.kit.paging import page_of
from services.kit.validation import Check, checking
from services.user.domain import ROLES, NewUser, Passwords, User, UserStore

MAX_NAME = 200
#: RFC 5321, 4.5.3.1, less the angle brackets.
MAX_EMAIL = 254
MIN_PASSWORD = 8
MAX_PASSWORD = 256
MAX_AGE = 150

_LOCAL = r"[\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*"
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"(?=.{{1,64}}@){_LOCAL}@{_LABEL}(?:\.{_LABEL})+")


@dataclass(frozen=True, slots=True)
class Registration:
    """What somebody says of a user to be, unchecked."""

    name: str
    email: str
    password: str = ""
    age: int = 0
    roles: Sequence[str] = ()

    def __repr__(self) -> str:
        return f"Registration({self.name!r})"  # a password is never printed


class Users:
    """Users act for themselves, admins for anyone. Methods raise InvalidArgument for malformed arguments."""

    def __init__(self, store: UserStore, passwords: Passwords) -> None:
        self._store, self._passwords = store, passwords

    async def get(self, actor: Actor, user_id: int) -> User:
        """Raises NotFound, PermissionDenied."""
        with checking() as check:
            check.id("id", user_id)
        actor.require_self_or_admin(user_id)
        return _found(await self._store.get(user_id), user_id)

    async def page(self, actor: Actor, page: int, page_size: int) -> Sequence[User]:
        """One page, by id. Raises PermissionDenied unless the actor is an admin."""
        actor.require_admin()
        with checking() as check:
            wanted = page_of(check, page, page_size)
        return await self._store.page(wanted)

    async def register(self, actor: Actor, said: Registration) -> User:
        """A new user; anybody may make one, an admin with roles. Raises AlreadyExists, PermissionDenied."""
        with checking() as check:
            name, email = _name(check, said.name), _email(check, said.email)
            _check_password(check, said.password)
            check.integer("age", said.age, most=MAX_AGE)
            roles = _roles(check, said.roles)
        if set(roles) - {"user"} and not actor.is_admin:
            raise PermissionDenied("only an admin gives roles", "ROLE_REQUIRED", role="admin")
        hashed = await self._passwords.hash(said.password) if said.password else None
        return await self._store.add(NewUser(name, email, said.age, roles, hashed))

    async def rename(self, actor: Actor, user_id: int, name: str, email: str) -> User:
        """Replaces name and email. Raises NotFound, AlreadyExists, PermissionDenied."""
        with checking() as check:
            check.id("id", user_id)
            name, email = _name(check, name), _email(check, email)
        actor.require_self_or_admin(user_id)
        return _found(await self._store.rename(user_id, name, email), user_id)

    async def delete(self, actor: Actor, user_id: int) -> None:
        """Forgets a user. Raises NotFound, PermissionDenied."""
        with checking() as check:
            check.id("id", user_id)
        actor.require_self_or_admin(user_id)
        if not await self._store.remove(user_id):
            raise NotFound("user", str(user_id))


def _found(user: User | None, user_id: int) -> User:
    if user is None:
        raise NotFound("user", str(user_id))
    return user


def _name(check: Check, value: str) -> str:
    name = check.text("name", value, least=1, most=MAX_NAME)
    # Or it could pass for somebody else's email where either logs in.
    check.that("@" not in name, "name", "must not contain @")
    return name


def _email(check: Check, value: str) -> str:
    email = check.text("email", value, least=1, most=MAX_EMAIL)
    if email and not any(v.field == "email" for v in check.violations):
        check.that(_EMAIL.fullmatch(email) is not None, "email", "must be an email address")
    return email


def _check_password(check: Check, value: str) -> None:
    if value:
        fits = MIN_PASSWORD <= len(value) <= MAX_PASSWORD
        check.that(fits, "password", f"must have from {MIN_PASSWORD} to {MAX_PASSWORD} characters")


def _roles(check: Check, roles: Sequence[str]) -> tuple[str, ...]:
    check.that(len(roles) <= len(ROLES), "roles", f"must be at most {len(ROLES)}")
    for i, role in enumerate(roles[: len(ROLES)]):
        check.that(role in ROLES, f"roles[{i}]", f"must be one of {', '.join(ROLES)}")
    return tuple(dict.fromkeys(roles)) or ("user",)
