"""Failed log-ins in SQLite or PostgreSQL."""

from sqlalchemy import ColumnElement, Connection, case, delete, select

from services.kit.db import Database
from services.user.domain import Origin
from services.user.tables import login_failure
from services.user.throttle import WINDOW, Failures, Limit, limits, wait

#: The most expired rows that one failure deletes.
_PIECE = 20


class SqlAttempts:
    """Implements the port `Attempts`."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def wait(self, origin: Origin, now: float) -> float:
        wanted = limits(origin)
        known = await self._db.read(lambda c: {limit.key: _found(c, limit) for limit in wanted})
        return max(wait(known[limit.key], limit, now) for limit in wanted)

    async def failed(self, origin: Origin, now: float) -> None:
        def note(c: Connection) -> None:
            for limit in limits(origin):
                self._count(c, limit, now)
            old = select(login_failure.c.key).where(login_failure.c.last_at < now - WINDOW).limit(_PIECE)
            old = old.with_for_update(skip_locked=True)  # somebody may be counting under them again
            c.execute(delete(login_failure).where(login_failure.c.key.in_(old.scalar_subquery())))

        await self._db.write(note)

    async def succeeded(self, origin: Origin) -> None:
        account, _ = limits(origin)
        if await self._db.read(lambda c: _found(c, account).count):
            await self._db.write(lambda c: c.execute(delete(login_failure).where(_is(account))))

    def _count(self, c: Connection, limit: Limit, now: float) -> None:
        """Add one in one statement: what is counted at the same time must not get lost."""
        fresh = login_failure.c.last_at > now - WINDOW
        more = {"count": case((fresh, login_failure.c.count + 1), else_=1), "last_at": int(now)}
        insert = self._db.insert(login_failure).values(key=limit.key, count=1, last_at=int(now))
        c.execute(insert.on_conflict_do_update(index_elements=["key"], set_=more))


def _found(c: Connection, limit: Limit) -> Failures:
    row = c.execute(select(login_failure.c.count, login_failure.c.last_at).where(_is(limit))).first()
    return Failures(*row) if row else Failures()


def _is(limit: Limit) -> ColumnElement[bool]:
    return login_failure.c.key == limit.key
