"""Log-in sessions in SQLite or PostgreSQL."""

import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, select, update

from services.kit.db import Database
from services.user.domain import SessionUnit, User
from services.user.sessions import BEFORE_FIRST, LoginSession
from services.user.storage import BY_ID, user_of
from services.user.tables import login_session, refresh_token

T = TypeVar("T")
_SESSION = tuple(login_session.c)
#: Rows that one transaction forgets.
_PIECE = 100


class SqlSessions:
    """The port `SessionStore`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def at_once(self, work: Callable[[SessionUnit], T]) -> T:
        return await self._db.write(lambda connection: work(_Unit(self._db, connection)))


class _Unit:
    def __init__(self, db: Database, connection: Connection) -> None:
        self._db, self._c = db, connection

    def add(self, session: LoginSession) -> None:
        self._c.execute(self._db.insert(login_session).values(_row(session)).on_conflict_do_nothing())

    def find(self, family: str) -> LoginSession | None:
        row = self._c.execute(select(*_SESSION).where(login_session.c.family == family)).first()
        return LoginSession(*row) if row else None

    def advance(self, before: LoginSession, after: LoginSession) -> bool:
        table = login_session
        same = (table.c.family == before.family) & (table.c.number == before.number)
        return self._c.execute(update(table).where(same).values(_row(after))).rowcount > 0

    def revoke(self, family: str) -> None:
        for table in (login_session, refresh_token):
            self._c.execute(delete(table).where(table.c.family == family))

    def adopt(self, digest: str) -> LoginSession | None:
        unspent = (refresh_token.c.digest == digest) & refresh_token.c.spent.is_(False)
        columns = (refresh_token.c.family, refresh_token.c.user_id, refresh_token.c.expires_at)
        row = self._c.execute(select(*columns).where(unspent)).first()
        if row is None:
            return None
        return LoginSession(row[0], row[1], secrets.token_hex(32), BEFORE_FIRST, digest, 0, row[2])

    def tidy(self, user_id: int, now: int, most: int) -> None:
        for table, key in ((login_session, login_session.c.family), (refresh_token, refresh_token.c.digest)):
            ended = select(key).where(table.c.expires_at <= now).limit(_PIECE)
            self._c.execute(delete(table).where(key.in_(ended.scalar_subquery())))
        own = login_session.c.user_id == user_id
        newest = select(login_session.c.family).where(own).order_by(login_session.c.expires_at.desc())
        surplus = list(self._c.scalars(newest.limit(_PIECE).offset(most)))
        self._c.execute(delete(login_session).where(login_session.c.family.in_(surplus)))

    def user(self, user_id: int) -> User | None:
        row = self._c.execute(BY_ID, {"id": user_id}).first()
        return user_of(row) if row else None


def _row(session: LoginSession) -> dict[str, Any]:
    return {name: getattr(session, name) for name in login_session.c.keys()}  # noqa: SIM118
