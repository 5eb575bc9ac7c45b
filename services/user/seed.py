"""Registers the users of a new shop: the demo users if they are wanted, and the first admin.

The demo users' passwords, `NAME-password`, are no secret.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from sqlalchemy import Connection, func, select, text

from grpcmesh.config import ConfigError
from grpcmesh.errors import AlreadyExists, InvalidArgument
from services.kit.db import Database
from services.user.domain import NewUser
from services.user.passwords import ScryptPasswords
from services.user.storage import SqlUsers, row_of
from services.user.tables import account
from services.user.users import Registration, Users

#: Names and roles of the demo users. Ids count from 1 in this order.
_PEOPLE = (("alice", ("user", "admin")), ("bob", ("user",)), ("charlie", ("user", "moderator")))


@dataclass(frozen=True, slots=True)
class FirstAdmin:
    """The admin that is registered in a shop without one."""

    name: str
    email: str
    password: str = field(repr=False)

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the files `name`, `email` and `password` of a directory, which may be a mounted Secret.

        Raises:
            ConfigError: one of them cannot be read.
        """
        try:
            parts = [(directory / part).read_text().strip() for part in ("name", "email", "password")]
        except (OSError, ValueError) as e:
            raise ConfigError([f"MESHMART_FIRST_ADMIN_DIR={directory}: {e}"]) from e
        return cls(*parts)


@dataclass(frozen=True, slots=True)
class Seeding:
    """The users to register."""

    demo_users: bool = False
    first_admin: FirstAdmin | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> Self:
        """Read MESHMART_DEMO_USERS (false) and MESHMART_FIRST_ADMIN_DIR.

        Raises:
            ConfigError: one of them is wrong.
        """
        demo = environ.get("MESHMART_DEMO_USERS", "false").lower()
        if demo not in ("true", "false"):
            raise ConfigError([f"MESHMART_DEMO_USERS={demo!r}: must be true or false"])
        directory = environ.get("MESHMART_FIRST_ADMIN_DIR", "")
        return cls(demo == "true", FirstAdmin.read(Path(directory)) if directory else None)


async def seed(db: Database, seeding: Seeding = Seeding(demo_users=True)) -> None:
    """Register the demo users if nobody is registered yet, and the first admin.

    The admin is registered if there is no admin beside the demo's. Safe when two processes do it at once.

    Raises:
        ConfigError: the first admin's name, email or password is not valid.
    """
    if seeding.demo_users:
        await _register_demo_users(db)
    if seeding.first_admin is not None:
        # The demo's admin does not count: its password is no secret.
        besides = [name for name, _ in _PEOPLE] if seeding.demo_users else []
        await _register_admin(db, seeding.first_admin, besides)


async def _register_admin(db: Database, admin: FirstAdmin, besides: Sequence[str]) -> None:
    is_admin = account.c.roles.contains('"admin"')
    has_one = select(account.c.id).where(is_admin, account.c.name.not_in(besides)).limit(1)

    async def is_there() -> bool:
        return await db.read(lambda c: c.scalar(has_one)) is not None

    if await is_there():
        return
    said = Registration(admin.name, admin.email, admin.password, roles=("user", "admin"))
    try:
        await Users(SqlUsers(db), ScryptPasswords()).register_admin(said)
    except AlreadyExists as e:
        if not await is_there():  # if it is, somebody has registered it at the same time
            told = f"{e.message}: somebody has registered with this name or email, who is no admin"
            raise ConfigError([f"MESHMART_FIRST_ADMIN_DIR: {told}"]) from e
    except InvalidArgument as e:
        told = "; ".join(f"{v.field} {v.description}" for v in e.violations)
        raise ConfigError([f"MESHMART_FIRST_ADMIN_DIR: {told}"]) from e


async def _register_demo_users(db: Database) -> None:
    registered = select(func.count()).select_from(account)
    if await db.read(lambda c: c.scalar(registered)):
        return
    # Hashing takes long, a transaction must not.
    rows = await _rows()

    def register(c: Connection) -> None:
        if c.scalar(registered):
            return
        c.execute(db.insert(account).on_conflict_do_nothing(), rows)
        if not db.is_sqlite:
            c.execute(text("SELECT setval('account_id_seq', (SELECT max(id) FROM account))"))

    await db.write(register)


async def _rows() -> list[dict[str, object]]:
    passwords = ScryptPasswords()
    hashes = await asyncio.gather(*(passwords.hash(f"{name}-password") for name, _ in _PEOPLE))
    return [
        {"id": i, **row_of(NewUser(name, f"{name}@example.com", 0, roles, hashed), int(time.time()))}
        for i, ((name, roles), hashed) in enumerate(zip(_PEOPLE, hashes, strict=True), 1)
    ]
