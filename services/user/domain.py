"""People, their passwords and their tokens: entities and ports."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, TypeVar

from services.kit.paging import Page, Slice
from services.user.sessions import LoginSession

T = TypeVar("T")

#: Every role there is.
ROLES = ("user", "moderator", "admin")


class Status(IntEnum):
    """Whether a user may log in. The numbers are those of the contract."""

    ACTIVE = 1
    INACTIVE = 2
    SUSPENDED = 3


@dataclass(frozen=True, slots=True)
class Address:
    """Where letters go. Each part may be empty."""

    street: str = ""
    city: str = ""
    state: str = ""
    zip_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a user tells of itself. `created_at`: when it first did, in Unix seconds; 0 until it is kept."""

    address: Address | None = None
    phone_numbers: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """A person. `age` 0: not told. `created_at` in Unix seconds."""

    id: int
    name: str
    email: str
    status: int
    age: int
    roles: tuple[str, ...]
    created_at: int
    profile: Profile | None = None

    @property
    def is_active(self) -> bool:
        return self.status == Status.ACTIVE


@dataclass(frozen=True, slots=True)
class NewUser:
    """A user to be. `password_hash` None: cannot log in."""

    name: str
    email: str
    age: int
    roles: tuple[str, ...]
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """A user and the hash of its password, which never leaves this service."""

    user: User
    password_hash: str | None


@dataclass(frozen=True, slots=True)
class Origin:
    """On whose behalf a password is tried: the client's address, and the account as it was written."""

    address: str
    account: str


#: Of what the shop does by itself.
NOWHERE = Origin("", "")


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a login earns. `expires_in`: seconds until the access token ends."""

    access: str
    refresh: str
    expires_in: int


class UserStore(Protocol):
    """Port: where users are kept."""

    async def get(self, user_id: int) -> User | None: ...

    async def find(self, login: str) -> Account | None:
        """By email where there is an @ in it, else by name; without regard to case."""
        ...

    async def page(self, page: Page) -> Slice[User]:
        """By id."""
        ...

    async def add(self, user: NewUser) -> User:
        """Raises AlreadyExists where name or email is taken, without regard to case."""
        ...

    async def add_all(self, users: Sequence[NewUser]) -> Sequence[User]:
        """All or none, in their order. Raises AlreadyExists with every name or email that is taken."""
        ...

    async def set_profile(self, user_id: int, profile: Profile) -> User | None:
        """Replaces the profile, but for when it was made. None if there is no such user."""
        ...

    async def rename(self, user_id: int, name: str, email: str) -> User | None:
        """None if there is no such user. Raises AlreadyExists as `add`."""
        ...

    async def remove(self, user_id: int) -> bool:
        """Forgets everything about a user, log-in sessions included; whether there was one."""
        ...


class SessionUnit(Protocol):
    """Port: one transaction on log-in sessions, and on what ends them."""

    def add(self, session: LoginSession) -> None:
        """Does nothing where the family is there already."""
        ...

    def find(self, family: str) -> LoginSession | None: ...

    def advance(self, before: LoginSession, after: LoginSession) -> bool:
        """Replaces a session as it was `before`; False where somebody else did."""
        ...

    def revoke(self, family: str, until: int) -> None:
        """Ends a family: its refresh tokens are gone, its access tokens revoked until they have ended."""
        ...

    def revoke_user(self, user_id: int, now: int, until: int) -> None:
        """The same for all families of a user."""
        ...

    def account(self, user_id: int) -> Account | None:
        """As it is committed; nobody else changes it before this transaction ends."""
        ...

    def set_status(self, user_id: int, status: int) -> None: ...

    def set_roles(self, user_id: int, roles: Sequence[str]) -> None: ...

    def set_password(self, user_id: int, password_hash: str) -> None: ...

    def ask_for_code(self, user_id: int, now: int, lifetime: int, most: int) -> None:
        """Has a code for a forgotten password sent, unless `most` were asked for within `lifetime`."""
        ...

    def add_code(self, user_id: int, digest: str, expires_at: int) -> None: ...

    def code(self, digest: str, now: int) -> int | None:
        """The user that a code was sent to; None where it is not good."""
        ...

    def drop_codes(self, user_id: int) -> None: ...

    def adopt(self, digest: str) -> LoginSession | None:
        """The family of a token that was issued before families were chains; None if it is not unspent."""
        ...

    def tidy(self, user_id: int, now: int, most: int) -> None:
        """Forgets sessions that have ended, and of a user all but the newest `most`."""
        ...

    def user(self, user_id: int) -> User | None: ...


class SessionStore(Protocol):
    """Port: where log-in sessions are kept."""

    async def at_once(self, work: Callable[[SessionUnit], T]) -> T:
        """What `work` returns, its changes committed; none of them if it raises."""
        ...


class Attempts(Protocol):
    """Port: how often passwords were guessed, shared by all replicas."""

    async def wait(self, origin: Origin, now: float) -> float:
        """Seconds for which this origin may not try; 0: it may."""
        ...

    async def failed(self, origin: Origin, now: float) -> None: ...

    async def succeeded(self, origin: Origin) -> None:
        """Forgets the failures of this account from this address."""
        ...


class Passwords(Protocol):
    """Port: hashing passwords, slowly on purpose, in turns that are fair between origins.

    Raises ResourceExhausted when too many of one origin wait.
    """

    async def hash(self, password: str, origin: Origin = NOWHERE) -> str: ...

    async def verify(self, password: str, password_hash: str | None, origin: Origin = NOWHERE) -> bool:
        """Takes equally long whether the password is right, wrong or (None) not there."""
        ...


class Issuer(Protocol):
    """Port: signing access tokens."""

    def issue(self, user: User, lifetime: int, session: str = "") -> str:
        """A signed token of a log-in session that ends after `lifetime` seconds."""
        ...
