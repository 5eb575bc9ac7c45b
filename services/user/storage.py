"""Users in SQLite or PostgreSQL."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.exc import IntegrityError

from grpcmesh.errors import AlreadyExists
from services.kit import outbox
from services.kit.db import Database
from services.kit.keyset import read_page
from services.kit.paging import Page, Slice
from services.kit.text import fold
from services.user import outbox_events
from services.user.domain import (
    Account,
    Address,
    NewUser,
    Profile,
    Status,
    User,
)
from services.user.tables import account, login_session, recovery, refresh_token, revocation

#: The most names and emails reported as taken: they travel in metadata, of which a client accepts 8 KB.
MAX_TAKEN = 10
#: Seconds for which revocations are listed by default: the lifetime of an access token, and a minute.
MAX_LISTED = 16 * 60
_USER = (
    account.c.id,
    account.c.name,
    account.c.email,
    account.c.status,
    account.c.age,
    account.c.roles,
    account.c.created_at,
    account.c.profile,
    account.c.profile_at,
)
BY_ID = select(*_USER).where(account.c.id == bindparam("id"))


def row_of(user: NewUser, now: int) -> dict[str, Any]:
    """Return the columns of a new user. `now` is in Unix seconds."""
    return {
        **_named(user.name, user.email),
        "status": int(Status.ACTIVE),
        "age": user.age,
        "roles": json.dumps(user.roles),
        "created_at": now,
        "password_hash": user.password_hash,
    }


class SqlUsers:
    """Implements the port `UserStore`.

    Args:
        db: The database with the service's tables.
        clock: Returns the time in Unix seconds.
        lifetime: Seconds for which the tokens of a removed user stay on the revocation list: the lifetime of
            an access token plus clock skew.
    """

    def __init__(
        self,
        db: Database,
        clock: Callable[[], float] = time.time,
        lifetime: int = MAX_LISTED,
    ) -> None:
        self._db, self._clock, self._lifetime = db, clock, lifetime

    async def get(self, user_id: int) -> User | None:
        row = await self._db.lookup(BY_ID, id=user_id)
        return user_of(row) if row else None

    async def find(self, login: str) -> Account | None:
        key = account.c.email_key if "@" in login else account.c.name_key
        statement: Select[Any] = select(*_USER, account.c.password_hash).where(key == fold(login))
        row = await self._db.read(lambda c: c.execute(statement).first())
        return Account(user_of(row[:-1]), row[-1]) if row else None

    async def page(self, page: Page) -> Slice[User]:
        rows = await self._db.read(lambda c: read_page(c, select(*_USER), account.c.id, page))
        return rows.map(user_of)

    async def add(self, user: NewUser) -> User:
        statement = insert(account).values(row_of(user, int(self._clock()))).returning(*_USER)
        with _unique(user.name, user.email):
            return user_of(await self._db.write(lambda c: c.execute(statement).one()))

    async def add_all(self, users: Sequence[NewUser]) -> Sequence[User]:
        now = int(self._clock())

        def add(c: Connection) -> list[User]:
            _refuse_taken(c, users)
            added = []
            for user in users:
                statement = insert(account).values(row_of(user, now)).returning(*_USER)
                with _unique(user.name, user.email):  # somebody else was quicker
                    added.append(user_of(c.execute(statement).one()))
            return added

        return await self._db.write(add)

    async def set_profile(self, user_id: int, profile: Profile) -> User | None:
        values = {
            "profile": _profile_json(profile),
            "profile_at": func.coalesce(account.c.profile_at, int(self._clock())),
        }
        statement = update(account).where(account.c.id == user_id).values(values).returning(*_USER)
        row = await self._db.write(lambda c: c.execute(statement).first())
        return user_of(row) if row else None

    async def rename(self, user_id: int, name: str, email: str) -> User | None:
        change = update(account).where(account.c.id == user_id).values(_named(name, email))
        statement = change.returning(*_USER)

        def rename(c: Connection) -> Row[Any] | None:
            before = c.scalar(select(account.c.email).where(account.c.id == user_id).with_for_update())
            if before is not None and fold(before) != fold(email):
                # Codes that went to the address before must not open the account any more.
                c.execute(
                    delete(recovery).where(recovery.c.user_id == user_id, recovery.c.digest.is_not(None))
                )
            return c.execute(statement).first()

        with _unique(name, email):
            row = await self._db.write(rename)
        return user_of(row) if row else None

    async def remove(self, user_id: int) -> bool:
        def remove(c: Connection) -> bool:
            forgotten = select(account.c.id).where(account.c.id == user_id).with_for_update()
            if c.scalar(forgotten) is None:
                return False
            now = self._clock()
            revoke(c, user_id, int(now), int(now) + self._lifetime)
            for table in (refresh_token, login_session, recovery):
                c.execute(delete(table).where(table.c.user_id == user_id))
            c.execute(delete(account).where(account.c.id == user_id))
            outbox.add_all(c, outbox_events.erasure(user_id, now))
            return True

        return await self._db.write(remove)


def revoke(c: Connection, user_id: int, now: int, until: int) -> None:
    """Add a user's tokens to the revocation list.

    Args:
        now: Unix seconds. Tokens issued until then are revoked, and those of all present log-ins.
        until: The Unix time until which they are listed.
    """
    # Also by log-in: a replica whose clock is ahead may have issued a token that seems newer than `now`.
    own = select(login_session.c.family).where(login_session.c.user_id == user_id)
    entry = {"user_id": user_id, "session": "", "issued_until": now, "expires_at": until}
    by_session = [{**entry, "session": family, "issued_until": 0} for family in c.scalars(own)]
    c.execute(insert(revocation), [entry, *by_session])


def _named(name: str, email: str) -> dict[str, str]:
    return {"name": name, "email": email, "name_key": fold(name), "email_key": fold(email)}


def user_of(row: Sequence[Any]) -> User:
    user_id, name, email, status, age, roles, created_at, profile, profile_at = row
    told = _profile(profile, profile_at) if profile else None
    return User(user_id, name, email, status, age, tuple(json.loads(roles)), created_at, told)


def _profile_json(profile: Profile) -> str:
    values = asdict(profile)
    del values["created_at"]
    return json.dumps(values, ensure_ascii=False)


def _profile(text: str, created_at: int) -> Profile:
    values = json.loads(text)
    address = Address(**values["address"]) if values["address"] else None
    return Profile(address, tuple(values["phone_numbers"]), values["metadata"], created_at)


def _refuse_taken(c: Connection, users: Sequence[NewUser]) -> None:
    """Raise AlreadyExists with every name or email that is taken."""
    said = {fold(text): text for user in users for text in (user.name, user.email)}
    keys = tuple(said)
    statement = select(account.c.name_key, account.c.email_key).where(
        account.c.name_key.in_(keys) | account.c.email_key.in_(keys)
    )
    taken = [said[key] for row in c.execute(statement) for key in row if key in said]
    if taken:
        more = ["…"] if len(taken) > MAX_TAKEN else []
        raise AlreadyExists("user", ", ".join(taken[:MAX_TAKEN] + more))


@contextmanager
def _unique(name: str, email: str) -> Iterator[None]:
    """Turn an IntegrityError into AlreadyExists for the value that was taken.

    Both databases name the column or its constraint in the error.
    """
    try:
        yield
    except IntegrityError as e:
        text = str(e.orig)
        if "email_key" in text:
            raise AlreadyExists("user", email) from e
        if "name_key" in text:
            raise AlreadyExists("user", name) from e
        raise
