"""Users, their passwords and their tokens: entities and ports."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol, TypeVar

from services.kit.paging import Page, Slice
from services.user.sessions import LoginSession

T = TypeVar("T")


class Status(IntEnum):
    """Whether a user may log in. The numbers are those of the contract."""

    ACTIVE = 1
    INACTIVE = 2
    SUSPENDED = 3


@dataclass(frozen=True, slots=True)
class Address:
    """A postal address. Each part may be empty."""

    street: str = ""
    city: str = ""
    state: str = ""
    zip_code: str = ""
    country: str = ""


@dataclass(frozen=True, slots=True)
class Profile:
    """What users say about themselves.

    `created_at` is when it was first saved, in Unix seconds; 0 before that.
    """

    address: Address | None = None
    phone_numbers: tuple[str, ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)
    created_at: int = 0


@dataclass(frozen=True, slots=True)
class User:
    """A registered user. `age` is 0 if it is not known. `created_at` is in Unix seconds."""

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
    """A user to be added. If `password_hash` is None, it cannot log in."""

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
    """On whose behalf a password is tried: the client's address, and the account as the client wrote it."""

    address: str
    account: str


#: The origin of what the shop does by itself.
NOWHERE = Origin("", "")


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a login. `expires_in` is the number of seconds until the access token expires."""

    access: str
    refresh: str
    expires_in: int


class UserStore(Protocol):
    """Port: stores users."""

    async def get(self, user_id: int) -> User | None: ...

    async def find(self, login: str) -> Account | None:
        """Find an account without regard to case: by email if `login` has an @ in it, else by name."""
        ...

    async def page(self, page: Page) -> Slice[User]:
        """Return a page of all users, ordered by id."""
        ...

    async def add(self, user: NewUser) -> User:
        """Add a user. Raises AlreadyExists if the name or the email is taken, without regard to case."""
        ...

    async def add_all(self, users: Sequence[NewUser]) -> Sequence[User]:
        """Add all users or none, and return them in order.

        Raises AlreadyExists with every name or email that is taken.
        """
        ...

    async def set_profile(self, user_id: int, profile: Profile) -> User | None:
        """Replace the profile, but keep its creation time. Returns None if there is no such user."""
        ...

    async def rename(self, user_id: int, name: str, email: str) -> User | None:
        """Replace name and email.

        Returns None if there is no such user. Raises AlreadyExists as `add` does.
        """
        ...

    async def remove(self, user_id: int) -> bool:
        """Delete everything about a user, including its log-in sessions.

        Returns whether there was such a user.
        """
        ...


class SessionUnit(Protocol):
    """Port: one transaction on log-in sessions and on account changes that end them."""

    def add(self, session: LoginSession) -> None:
        """Add a session. Has no effect if its family exists."""
        ...

    def find(self, family: str) -> LoginSession | None: ...

    def advance(self, before: LoginSession, after: LoginSession) -> bool:
        """Replace the session `before` by `after`. Returns False if another transaction replaced it first."""
        ...

    def revoke(self, family: str, until: int) -> None:
        """End a family: delete its refresh tokens, and list its access tokens as revoked until the Unix time
        `until`.
        """
        ...

    def revoke_user(self, user_id: int, now: int, until: int) -> None:
        """End all families of a user, as `revoke` does. `now` and `until` are in Unix seconds."""
        ...

    def account(self, user_id: int) -> Account | None:
        """Return the account as it is committed. It is locked until this transaction ends."""
        ...

    def set_status(self, user_id: int, status: int) -> None: ...

    def set_roles(self, user_id: int, roles: Sequence[str]) -> None: ...

    def set_password(self, user_id: int, password_hash: str) -> None: ...

    def ask_for_code(self, user_id: int, now: int, lifetime: int, most: int) -> None:
        """Have a recovery code sent, unless `most` were requested within `lifetime` seconds."""
        ...

    def add_code(self, user_id: int, digest: str, expires_at: int) -> None: ...

    def code(self, digest: str, now: int) -> int | None:
        """Return the user that a recovery code was sent to, or None if the code is not valid."""
        ...

    def drop_codes(self, user_id: int) -> None: ...

    def adopt(self, digest: str) -> LoginSession | None:
        """Return the family of a token that was issued before families were chains, or None if it is not
        unspent.
        """
        ...

    def tidy(self, user_id: int, now: int, most: int) -> None:
        """Delete expired sessions, and all but the newest `most` sessions of a user."""
        ...

    def user(self, user_id: int) -> User | None: ...


class SessionStore(Protocol):
    """Port: stores log-in sessions."""

    async def at_once(self, work: Callable[[SessionUnit], T]) -> T:
        """Run `work` in a transaction and return its result.

        If it raises, none of its changes are committed.
        """
        ...


class Attempts(Protocol):
    """Port: counts failed log-ins, shared by all replicas."""

    async def wait(self, origin: Origin, now: float) -> float:
        """Return the seconds that this origin must wait before the next try; 0 if it need not wait."""
        ...

    async def failed(self, origin: Origin, now: float) -> None: ...

    async def succeeded(self, origin: Origin) -> None:
        """Forget the failures of this account from this address."""
        ...


class Passwords(Protocol):
    """Port: hashes passwords, slowly on purpose, in turns that are fair between origins.

    `turn` and `hash` raise ResourceExhausted when too many requests of one origin wait.
    """

    def turn(self, origin: Origin) -> AbstractAsyncContextManager[None]:
        """Wait for a turn, and have it until the end of the block."""
        ...

    async def hash(self, password: str, origin: Origin = NOWHERE) -> str:
        """Return a hash, made in a turn of its own."""
        ...

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Return whether the password is right. To be called within a `turn`.

        It takes equally long if it is wrong or if there is no hash (None).
        """
        ...


class Issuer(Protocol):
    """Port: signs access tokens."""

    def issue(self, user: User, lifetime: int, session: str = "") -> str:
        """Return a signed token of a log-in session that expires after `lifetime` seconds."""
        ...
