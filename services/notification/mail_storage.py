"""Letters in SQL."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.kit import outbox
from services.kit.db import Database
from services.kit.retention import delete_oldest, drop_old
from services.notification.mail import Letter
from services.notification.tables import mail

#: Of the outbox: letters that a mail system is to take.
TOPIC = "mail"


class SqlMail:
    """The `services.notification.mail.Store` in SQLite or PostgreSQL.

    Args:
        db: The service's database.
        wake: Called after each letter that goes into the outbox, under `TOPIC`. None: letters wait for the
            operator, and the outbox is left alone.
    """

    def __init__(self, db: Database, wake: Callable[[], None] | None = None) -> None:
        self._db, self._wake = db, wake

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
        await self._db.write(lambda connection: self._insert(connection, values))
        if self._wake:
            self._wake()

    def _insert(self, connection: sa.Connection, values: Mapping[str, Any]) -> None:
        insert = self._db.insert(mail).on_conflict_do_nothing(index_elements=["event_id"])
        number = connection.scalar(insert.returning(mail.c.id), values)
        if self._wake and number is not None:
            name = f"letter-{number}"
            outbox.add(connection, TOPIC, name, name, {"letter_id": number}, values["created_at"])

    async def letter(self, letter_id: int) -> Letter | None:
        """See the port."""
        one = sa.select(mail).where(mail.c.id == letter_id)
        row = await self._db.read(lambda c: c.execute(one).one_or_none())
        return None if row is None else _letter(row)

    async def drop_letter(self, letter_id: int) -> None:
        """See the port."""
        one = sa.delete(mail).where(mail.c.id == letter_id)
        await self._db.write(lambda c: c.execute(one))

    async def letters(self, to: str, limit: int) -> Sequence[Letter]:
        """Return letters, the newest first; see the port."""
        newest = sa.select(mail).order_by(mail.c.id.desc()).limit(limit)
        statement = newest.where(mail.c.address == to) if to else newest
        rows = await self._db.read(lambda c: c.execute(statement).all())
        return [_letter(row) for row in rows]

    async def drop_letters(self, before: float) -> int:
        """Delete old letters; see the port."""
        old = delete_oldest(mail, mail.c.created_at, mail.c.created_at < before)
        return await drop_old(self._db, old)


def _letter(row: sa.Row[Any]) -> Letter:
    return Letter(row.user_id, row.address, row.subject, row.body, row.event_id, row.id, row.created_at)
