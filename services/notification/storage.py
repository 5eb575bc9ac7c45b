"""Notifications in SQL."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from services.kit.db import Database
from services.kit.keyset import read_page
from services.kit.paging import Page, Slice
from services.kit.retention import delete_oldest, expire
from services.kit.unique import insert_or_find
from services.notification.domain import Draft, Kind, Notification
from services.notification.tables import forgotten, mail, notifications, users

#: The channel on which commits wake streams: see `services.kit.following`.
CHANNEL = "notifications"


class SqlStore:
    """The `services.notification.ports.Store` in SQLite or PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def add(self, draft: Draft, now: float) -> Notification:
        """Record a notification, once per event; see the port."""
        # Insert without reading first: nearly every event is new, and the constraint detects the others.
        of_event = sa.select(notifications).where(notifications.c.event_id == draft.event_id)

        async def insert() -> Notification | None:
            with contextlib.suppress(_Recorded):
                return await self._db.write(lambda connection: self._insert(connection, draft, now))
            return None

        async def find() -> Notification | None:
            return next(iter(await self._all(of_event)), None)

        notification, _ = await insert_or_find(insert, find)
        return notification

    async def since(self, user_id: int, cursor: int, limit: int) -> Sequence[Notification]:
        """Return a user's notifications after a cursor, the oldest first."""
        statement = sa.select(notifications).where(
            notifications.c.user_id == user_id, notifications.c.cursor > cursor
        )
        return await self._all(statement.order_by(notifications.c.cursor).limit(limit))

    async def page(self, user_id: int, page: Page) -> Slice[Notification]:
        """Return a page of a user's notifications, the newest first."""
        statement = sa.select(notifications).where(notifications.c.user_id == user_id)
        rows = await self._db.read(
            lambda connection: read_page(
                connection, statement, notifications.c.cursor, page, newest_first=True
            )
        )
        return rows.map(_notification)

    async def erase_user(self, user_id: int) -> None:
        """Delete the text of a user's notifications, and delete its letters; see the port."""
        own = notifications.c.user_id == user_id
        emptied = sa.update(notifications).where(own).values(title="", body="")
        letters = sa.delete(mail).where(mail.c.user_id == user_id)
        await self._db.write(lambda c: (c.execute(emptied), c.execute(letters)))

    async def versions(self, user_ids: Sequence[int]) -> Mapping[int, int]:
        """Return the last cursor of each user that has notifications."""
        statement = sa.select(users.c.id, users.c.cursor).where(users.c.id.in_(user_ids))
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return {row.id: row.cursor for row in rows}

    async def forget(self, before: float) -> int:
        """Delete notifications from before the Unix time `before`, and record that time. Return how many."""
        mark = self._db.insert(forgotten)
        latest = sa.case((forgotten.c.before > mark.excluded.before, forgotten.c.before), else_=before)
        mark = mark.on_conflict_do_update(index_elements=["id"], set_={"before": latest})

        age = notifications.c.created_at
        old = delete_oldest(notifications, age, age < before)

        def drop(connection: sa.Connection, most: int) -> int:
            connection.execute(mark, {"id": 1, "before": before})
            return connection.execute(old, {"most": most}).rowcount

        return await expire(self._db, drop)

    async def _all(self, statement: sa.Select[Any]) -> list[Notification]:
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return [_notification(row) for row in rows]

    def _insert(self, connection: sa.Connection, draft: Draft, now: float) -> Notification:
        cursor = self._next(connection, draft.user_id)
        values = {
            "user_id": draft.user_id,
            "cursor": cursor,
            "kind": draft.kind.value,
            "title": draft.title,
            "body": draft.body,
            "event_id": draft.event_id,
            "created_at": now,
        }
        insert = self._db.insert(notifications).on_conflict_do_nothing(index_elements=["event_id"])
        row = connection.execute(insert.returning(notifications), values).first()
        if row is None:
            raise _Recorded
        self._db.notify(connection, CHANNEL, str(draft.user_id))
        return _notification(row)

    def _next(self, connection: sa.Connection, user_id: int) -> int:
        """Return the user's next cursor. The user's row is locked from here to the commit."""
        statement = (
            self._db.insert(users)
            .values(id=user_id, cursor=1)
            .on_conflict_do_update(index_elements=["id"], set_={"cursor": users.c.cursor + 1})
            .returning(users.c.cursor)
        )
        cursor: int = connection.execute(statement).scalar_one()
        return cursor


class _Recorded(Exception):  # noqa: N818 - no error, and never seen outside
    """The event is recorded already. Raised to roll the transaction back, and the cursor with it."""


def _notification(row: sa.Row[Any]) -> Notification:
    return Notification(row.id, row.user_id, row.cursor, Kind(row.kind), row.title, row.body, row.created_at)
