"""Users and tokens in memory, passwords that cost nothing, tokens that can be read."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

from grpcmesh.errors import AlreadyExists
from services.kit.paging import Page
from services.user.domain import Account, NewUser, Profile, RefreshToken, Status, TokenUnit, User

T = TypeVar("T")


@dataclass
class People:
    """A `UserStore` and a `TokenStore`."""

    accounts: dict[int, Account] = field(default_factory=dict)
    tokens: dict[str, RefreshToken] = field(default_factory=dict)

    async def get(self, user_id: int) -> User | None:
        found = self.accounts.get(user_id)
        return found.user if found else None

    async def find(self, login: str) -> Account | None:
        for account in self.accounts.values():
            if login.lower() in (account.user.name.lower(), account.user.email.lower()):
                return account
        return None

    async def page(self, page: Page) -> Sequence[User]:
        users = [a.user for a in self.accounts.values()]
        return users[page.offset : page.offset + page.limit]

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

    async def at_once(self, work: Callable[[TokenUnit], T]) -> T:
        before = copy.copy(self.tokens)
        try:
            return work(Tokens(self))
        except BaseException:
            self.tokens = before
            raise

    def suspend(self, user_id: int) -> None:
        suspended = replace(self.accounts[user_id].user, status=Status.SUSPENDED)
        self.accounts[user_id] = replace(self.accounts[user_id], user=suspended)


@dataclass
class Tokens:
    """A `TokenUnit`."""

    people: People

    def put(self, token: RefreshToken) -> None:
        self.people.tokens[token.digest] = token

    def find(self, digest: str) -> RefreshToken | None:
        return self.people.tokens.get(digest)

    def spend(self, digest: str) -> bool:
        token = self.people.tokens[digest]
        self.people.tokens[digest] = replace(token, spent=True)
        return not token.spent

    def revoke(self, family: str) -> None:
        self.people.tokens = {d: t for d, t in self.people.tokens.items() if t.family != family}

    def forget_expired(self, now: int) -> None:
        self.people.tokens = {d: t for d, t in self.people.tokens.items() if t.expires_at > now}

    def user(self, user_id: int) -> User | None:
        account = self.people.accounts.get(user_id)
        return account.user if account else None


@dataclass
class PlainPasswords:
    """The port `Passwords`; `verified` is what it was asked about."""

    verified: list[str | None] = field(default_factory=list)

    async def hash(self, password: str) -> str:
        return f"hashed {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.verified.append(password_hash)
        return password_hash == f"hashed {password}"


class PlainIssuer:
    """The port `Issuer`."""

    def issue(self, user: User, lifetime: int) -> str:
        return f"{user.id} {user.name} {','.join(user.roles)} {lifetime}"
