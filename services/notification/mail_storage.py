"""Letters in SQL."""

from collections.abc import Sequence

import sqlalchemy as sa

from services.kit.db import Database
from services.kit.retention import delete_oldest, drop_old
from services.notification.mail import Letter
from services.notification.tables import mail


class SqlMail:
    """The `services.notification.mail.Store` in SQLite or PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def post(self, letter: Letter, now: float) -> None:
        """Record a letter, once per event; see the port."""
        values = {
            "user_id": letter.user_id,
            "address": letter.to,
            "subject": letter.subject,
            "body": letter.body,
            "event_id": letter.event_id,
            "created_at": now,
        }
        insert = self._db.insert(mail).on_conflict_do_nothing(index_elements=["event_id"])
        await self._db.write(lambda c: c.execute(insert, values))

    async def letters(self, to: str, limit: int) -> Sequence[Letter]:
        """Return letters, the newest first; see the port."""
        newest = sa.select(mail).order_by(mail.c.id.desc()).limit(limit)
        statement = newest.where(mail.c.address == to) if to else newest
        rows = await self._db.read(lambda c: c.execute(statement).all())
        return [
            Letter(row.user_id, row.address, row.subject, row.body, row.event_id, row.id, row.created_at)
            for row in rows
        ]

    async def drop_letters(self, before: float) -> int:
        """Delete old letters; see the port."""
        old = delete_oldest(mail, mail.c.created_at, mail.c.created_at < before)
        return await drop_old(self._db, old)
