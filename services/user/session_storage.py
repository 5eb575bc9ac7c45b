"""Log-in sessions in SQLite or PostgreSQL."""

import json
import secrets
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Connection, delete, insert, select, update

from grpcmesh.auth import Revocation
from services.kit import outbox
from services.kit.db import Database
from services.user import outbox_events
from services.user.domain import Account, SessionUnit, User
from services.user.sessions import BEFORE_FIRST, LoginSession
from services.user.storage import BY_ID, revoke, user_of
from services.user.tables import account, login_session, recovery, refresh_token, revocation

T = TypeVar("T")
_SESSION = tuple(login_session.c)
#: The most rows that one transaction deletes.
_PIECE = 100


class SqlSessions:
    """Implements the port `SessionStore`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def at_once(self, work: Callable[[SessionUnit], T]) -> T:
        return await self._db.write(lambda connection: work(_Unit(self._db, connection)))


class SqlRevocations:
    """Implements the port `RevocationStore`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def listed(self, now: int, limit: int) -> Sequence[Revocation]:
        columns = (revocation.c.user_id, revocation.c.session, revocation.c.issued_until)
        urgent_first = (revocation.c.user_id == 0, revocation.c.expires_at.desc(), revocation.c.id)
        listed = select(*columns).where(revocation.c.expires_at > now)
        statement = listed.order_by(*urgent_first).limit(limit)
        return [Revocation(*row) for row in await self._db.read(lambda c: c.execute(statement).all())]


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

    def revoke(self, family: str, until: int) -> None:
        for table in (login_session, refresh_token):
            self._c.execute(delete(table).where(table.c.family == family))
        self._put_on_list(session=family, expires_at=until)

    def revoke_user(self, user_id: int, now: int, until: int) -> None:
        revoke(self._c, user_id, now, until)
        for table in (login_session, refresh_token):
            self._c.execute(delete(table).where(table.c.user_id == user_id))

    def account(self, user_id: int) -> Account | None:
        statement = select(account.c.password_hash).where(account.c.id == user_id).with_for_update()
        row = self._c.execute(statement).first()
        user = self.user(user_id)
        return Account(user, row[0]) if user and row else None

    def set_status(self, user_id: int, status: int) -> None:
        self._c.execute(update(account).where(account.c.id == user_id).values(status=status))

    def set_roles(self, user_id: int, roles: Sequence[str]) -> None:
        self._c.execute(update(account).where(account.c.id == user_id).values(roles=json.dumps(roles)))

    def set_password(self, user_id: int, password_hash: str) -> None:
        changed = update(account).where(account.c.id == user_id)
        self._c.execute(changed.values(password_hash=password_hash))

    def ask_for_code(self, user_id: int, now: int, lifetime: int, most: int) -> None:
        self.account(user_id)  # requests at the same time count each other
        old = select(recovery.c.id).where(recovery.c.expires_at <= now).limit(_PIECE)
        self._c.execute(delete(recovery).where(recovery.c.id.in_(old.scalar_subquery())))
        asked = (recovery.c.user_id == user_id) & recovery.c.digest.is_(None)
        if (
            len(self._c.scalars(select(recovery.c.id).where(asked, recovery.c.expires_at > now)).all())
            >= most
        ):
            return
        request = insert(recovery).values(user_id=user_id, digest=None, expires_at=now + lifetime)
        request_id = self._c.scalar(request.returning(recovery.c.id))
        outbox.add_all(self._c, [outbox_events.recovery(user_id, request_id or 0, now)])

    def add_code(self, user_id: int, digest: str, expires_at: int) -> None:
        values = {"user_id": user_id, "digest": digest, "expires_at": expires_at}
        self._c.execute(insert(recovery).values(values))

    def code(self, digest: str, now: int) -> int | None:
        good = (recovery.c.digest == digest) & (recovery.c.expires_at > now)
        return self._c.scalar(select(recovery.c.user_id).where(good))

    def drop_codes(self, user_id: int) -> None:
        self._c.execute(delete(recovery).where(recovery.c.user_id == user_id))

    def _put_on_list(self, **entry: Any) -> None:
        values = {"user_id": 0, "session": "", "issued_until": 0, **entry}
        self._c.execute(insert(revocation).values(values))

    def adopt(self, digest: str) -> LoginSession | None:
        unspent = (refresh_token.c.digest == digest) & refresh_token.c.spent.is_(False)
        columns = (refresh_token.c.family, refresh_token.c.user_id, refresh_token.c.expires_at)
        row = self._c.execute(select(*columns).where(unspent)).first()
        if row is None:
            return None
        return LoginSession(row[0], row[1], secrets.token_hex(32), BEFORE_FIRST, digest, 0, row[2])

    def tidy(self, user_id: int, now: int, most: int) -> None:
        keys = (login_session.c.family, refresh_token.c.digest, revocation.c.id)
        for table, key in zip((login_session, refresh_token, revocation), keys, strict=True):
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
