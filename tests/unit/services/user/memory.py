"""Users and tokens in memory, passwords that cost nothing, tokens that can be read."""

import copy
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar

from grpcmesh.errors import AlreadyExists
from services.kit.paging import Page, Slice
from services.user.domain import NOWHERE, Account, NewUser, Origin, Profile, SessionUnit, Status, User
from services.user.sessions import LoginSession
from services.user.throttle import WINDOW, Failures, limits, wait

T = TypeVar("T")


@dataclass
class People:
    """A `UserStore` and a `SessionStore`."""

    accounts: dict[int, Account] = field(default_factory=dict)
    sessions: dict[str, LoginSession] = field(default_factory=dict)

    async def get(self, user_id: int) -> User | None:
        found = self.accounts.get(user_id)
        return found.user if found else None

    async def find(self, login: str) -> Account | None:
        for account in self.accounts.values():
            if login.lower() in (account.user.name.lower(), account.user.email.lower()):
                return account
        return None

    async def page(self, page: Page) -> Slice[User]:
        users = [a.user for a in self.accounts.values()]
        return Slice.of(users[page.skip : page.skip + page.limit + 1], page.limit, lambda user: user.id)

    async def add(self, user: NewUser) -> User:
        if await self.find(user.name):
            raise AlreadyExists("user", user.name)
        user_id = len(self.accounts) + 1
        made = User(user_id, user.name, user.email, Status.ACTIVE, user.age, user.roles, 0)
        self.accounts[user_id] = Account(made, user.password_hash)
        return made

    async def add_all(self, users: Sequence[NewUser]) -> Sequence[User]:
        for user in users:
            if await self.find(user.name):
                raise AlreadyExists("user", user.name)
        return [await self.add(user) for user in users]

    async def set_profile(self, user_id: int, profile: Profile) -> User | None:
        if user_id not in self.accounts:
            return None
        changed = replace(self.accounts[user_id].user, profile=profile)
        self.accounts[user_id] = replace(self.accounts[user_id], user=changed)
        return changed

    async def rename(self, user_id: int, name: str, email: str) -> User | None:
        if user_id not in self.accounts:
            return None
        changed = replace(self.accounts[user_id].user, name=name, email=email)
        self.accounts[user_id] = replace(self.accounts[user_id], user=changed)
        return changed

    async def remove(self, user_id: int) -> bool:
        return self.accounts.pop(user_id, None) is not None

    async def at_once(self, work: Callable[[SessionUnit], T]) -> T:
        before = copy.copy(self.sessions)
        try:
            return work(Sessions(self))
        except BaseException:
            self.sessions = before
            raise

    def suspend(self, user_id: int) -> None:
        suspended = replace(self.accounts[user_id].user, status=Status.SUSPENDED)
        self.accounts[user_id] = replace(self.accounts[user_id], user=suspended)


@dataclass
class Sessions:
    """A `SessionUnit`."""

    people: People

    def add(self, session: LoginSession) -> None:
        self.people.sessions.setdefault(session.family, session)

    def find(self, family: str) -> LoginSession | None:
        return self.people.sessions.get(family)

    def advance(self, before: LoginSession, after: LoginSession) -> bool:
        if self.people.sessions.get(before.family) != before:
            return False
        self.people.sessions[before.family] = after
        return True

    def revoke(self, family: str, until: int) -> None:
        self.people.sessions.pop(family, None)

    def revoke_user(self, user_id: int, now: int, until: int) -> None:
        self.people.sessions = {f: s for f, s in self.people.sessions.items() if s.user_id != user_id}

    def account(self, user_id: int) -> Account | None:
        return self.people.accounts.get(user_id)

    def set_status(self, user_id: int, status: int) -> None:
        account = self.people.accounts[user_id]
        self.people.accounts[user_id] = replace(account, user=replace(account.user, status=status))

    def set_roles(self, user_id: int, roles: Sequence[str]) -> None:
        account = self.people.accounts[user_id]
        self.people.accounts[user_id] = replace(account, user=replace(account.user, roles=tuple(roles)))

    def set_password(self, user_id: int, password_hash: str) -> None:
        account = self.people.accounts[user_id]
        self.people.accounts[user_id] = replace(account, password_hash=password_hash)

    def ask_for_code(self, user_id: int, now: int, lifetime: int, most: int) -> None:
        raise NotImplementedError

    def add_code(self, user_id: int, digest: str, expires_at: int) -> None:
        raise NotImplementedError

    def code(self, digest: str, now: int) -> int | None:
        raise NotImplementedError

    def drop_codes(self, user_id: int) -> None:
        """There are none."""

    def adopt(self, digest: str) -> LoginSession | None:
        return None

    def tidy(self, user_id: int, now: int, most: int) -> None:
        left = {f: s for f, s in self.people.sessions.items() if s.expires_at > now}
        own = sorted((s for s in left.values() if s.user_id == user_id), key=lambda s: -s.expires_at)
        gone = {s.family for s in own[most:]}
        self.people.sessions = {f: s for f, s in left.items() if f not in gone}

    def user(self, user_id: int) -> User | None:
        account = self.people.accounts.get(user_id)
        return account.user if account else None


@dataclass
class Guesses:
    """The port `Attempts`."""

    failures: dict[str, Failures] = field(default_factory=dict)

    async def wait(self, origin: Origin, now: float) -> float:
        return max(wait(self.failures.get(limit.key, Failures()), limit, now) for limit in limits(origin))

    async def failed(self, origin: Origin, now: float) -> None:
        for limit in limits(origin):
            before = self.failures.get(limit.key, Failures())
            count = before.count + 1 if now < before.last_at + WINDOW else 1
            self.failures[limit.key] = Failures(count, int(now))

    async def succeeded(self, origin: Origin) -> None:
        self.failures.pop(limits(origin)[0].key, None)


@dataclass
class PlainPasswords:
    """The port `Passwords`; `verified` is what it was asked about."""

    verified: list[str | None] = field(default_factory=list)

    async def hash(self, password: str, origin: Origin = NOWHERE) -> str:
        return f"hashed {password}"

    def turn(self, origin: Origin) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.verified.append(password_hash)
        return password_hash == f"hashed {password}"


class PlainIssuer:
    """The port `Issuer`."""

    def issue(self, user: User, lifetime: int, session: str = "") -> str:
        return f"{user.id} {user.name} {','.join(user.roles)} {lifetime}"
