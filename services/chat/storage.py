"""Messages and presence in SQL."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from grpcmesh.errors import FailedPrecondition
from services.chat.domain import FORMER, MAX_ROOMS, Author, Draft, Message, Stay
from services.chat.tables import messages, presence, rooms
from services.kit.db import Database
from services.kit.paging import Page, Slice
from services.kit.retention import delete_oldest, drop_old, in_pieces
from services.kit.unique import insert_or_find


class SqlStore:
    """The `services.chat.ports.Store` in SQLite or PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def post(self, draft: Draft, now: float) -> Message:
        """Record a message, once per key; see the port."""
        if (found := await self._find(draft)) is not None:
            return found

        async def insert() -> Message | None:
            # If the key is taken, the transaction is rolled back, and the cursor with it.
            with contextlib.suppress(IntegrityError):
                return await self._db.write(lambda connection: self._insert(connection, draft, now))
            return None

        message, _ = await insert_or_find(insert, lambda: self._find(draft))
        return message

    async def since(self, room: str, cursor: int, limit: int) -> Sequence[Message]:
        """Return messages after a cursor, the oldest first."""
        statement = (
            sa.select(messages)
            .where(messages.c.room == room, messages.c.cursor > cursor)
            .order_by(messages.c.cursor)
            .limit(limit)
        )
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return [_message(row) for row in rows]

    async def history(self, room: str, page: Page) -> Slice[Message]:
        """Return a page of the messages that are kept. Cursors have no gaps, so rows need not be counted."""
        after = page.after
        if after is None:
            first = sa.select(sa.func.min(messages.c.cursor)).where(messages.c.room == room)
            kept_from = await self._db.read(lambda connection: connection.scalar(first))
            after = (kept_from or 1) - 1 + page.skip
        found = await self.since(room, after, page.limit + 1)
        return Slice.of(found, page.limit, lambda message: message.cursor)

    async def forget(self, before: float) -> int:
        """Delete messages from before the Unix time `before`. The room's cursor continues where it is."""
        old = delete_oldest(messages, messages.c.sent_at, messages.c.sent_at < before)
        return await drop_old(self._db, old)

    async def erase_author(self, user_id: int) -> None:
        """Delete the name and the text of a user's messages; see the port."""
        left = sa.or_(messages.c.user_name != FORMER, messages.c.text != "")
        some = sa.select(messages.c.id).where(messages.c.user_id == user_id, left).limit(sa.bindparam("most"))
        emptied = (
            sa.update(messages).where(messages.c.id.in_(some)).values(user_name=FORMER, text="", key=None)
        )

        async def piece(most: int) -> int:
            return await self._db.write(lambda c: c.execute(emptied, {"most": most}).rowcount)

        await in_pieces(piece)
        gone = sa.delete(presence).where(presence.c.user_id == user_id)
        await self._db.write(lambda c: c.execute(gone))

    async def versions(self, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the last cursor of each room that exists."""
        statement = sa.select(rooms.c.id, rooms.c.cursor).where(rooms.c.id.in_(ids))
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return {row.id: row.cursor for row in rows}

    async def _find(self, draft: Draft) -> Message | None:
        if draft.key is None:
            return None
        statement = sa.select(messages).where(
            messages.c.room == draft.room,
            messages.c.user_id == draft.author.user_id,
            messages.c.key == draft.key,
        )
        row = await self._db.read(lambda connection: connection.execute(statement).first())
        if row is None:
            return None
        found = _message(row)
        found.require_same(draft)
        return found

    def _insert(self, connection: sa.Connection, draft: Draft, now: float) -> Message:
        cursor = self._next(connection, draft.room)
        values = {
            "room": draft.room,
            "cursor": cursor,
            "user_id": draft.author.user_id,
            "user_name": draft.author.name,
            "text": draft.text,
            "key": draft.key,
            "sent_at": now,
        }
        result = connection.execute(sa.insert(messages).values(values).returning(messages.c.id))
        self._db.notify(connection, "rooms", draft.room)
        return Message(result.scalar_one(), draft.room, cursor, draft.author, draft.text, now)

    def _next(self, connection: sa.Connection, room: str) -> int:
        """Return the room's next cursor. The room's row is locked from here to the commit.

        Raises:
            FailedPrecondition: TOO_MANY_ROOMS.
        """
        statement = (
            self._db.insert(rooms)
            .values(id=room, cursor=1)
            .on_conflict_do_update(index_elements=["id"], set_={"cursor": rooms.c.cursor + 1})
            .returning(rooms.c.cursor)
        )
        cursor: int = connection.execute(statement).scalar_one()
        if cursor == 1:
            count = connection.scalar(sa.select(sa.func.count()).select_from(rooms))
            if (count or 0) > MAX_ROOMS:
                # No RESOURCE_EXHAUSTED: trying again later does not help.
                raise FailedPrecondition(
                    "no more rooms can be opened; speak in one that is", "TOO_MANY_ROOMS"
                )
        return cursor


class SqlAttendance:
    """The `services.chat.ports.Attendance` in SQLite or PostgreSQL."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def enter(self, stays: Sequence[Stay], expires_at: float) -> None:
        """Record the streams, or extend those that are recorded."""
        insert = self._db.insert(presence)
        statement = insert.on_conflict_do_update(
            index_elements=["id"], set_={"expires_at": insert.excluded.expires_at}
        )
        # Sorted against deadlocks: replicas extend disjoint streams, but expiry may lock the same rows.
        rows = [_stay_row(stay, expires_at) for stay in sorted(stays, key=lambda stay: stay.id)]
        await self._db.write(lambda connection: connection.execute(statement, rows))

    async def leave(self, ids: Sequence[str]) -> None:
        """Delete the streams."""
        statement = sa.delete(presence).where(presence.c.id.in_(ids))
        await self._db.write(lambda connection: connection.execute(statement))

    async def expire(self, now: float) -> None:
        """Delete expired streams. Writes nothing if there are none."""
        over = presence.c.expires_at <= now
        look = sa.select(presence.c.id).where(over).limit(1000)
        ids = await self._db.read(lambda connection: connection.scalars(look).all())
        if ids:
            # `over` again: the stream's replica may have extended it since.
            statement = sa.delete(presence).where(presence.c.id.in_(ids), over)
            await self._db.write(lambda connection: connection.execute(statement))

    async def online(self, room: str, now: float, after_user: int, limit: int) -> Sequence[Author]:
        """Return the users in a room, each once, ordered by id."""
        statement = (
            sa.select(presence.c.user_id, sa.func.max(presence.c.user_name).label("user_name"))
            .where(presence.c.room == room, presence.c.expires_at > now, presence.c.user_id > after_user)
            .group_by(presence.c.user_id)
            .order_by(presence.c.user_id)
            .limit(limit)
        )
        rows = await self._db.read(lambda connection: connection.execute(statement).all())
        return [Author(row.user_id, row.user_name) for row in rows]


def _stay_row(stay: Stay, expires_at: float) -> dict[str, Any]:
    return {
        "id": stay.id,
        "room": stay.room,
        "user_id": stay.author.user_id,
        "user_name": stay.author.name,
        "expires_at": expires_at,
    }


def _message(row: sa.Row[Any]) -> Message:
    return Message(row.id, row.room, row.cursor, Author(row.user_id, row.user_name), row.text, row.sent_at)
