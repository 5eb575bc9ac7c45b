"""Tracks who is in a room: a row for each open stream, which ends with it, or expires with its replica."""

import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpcmesh.clock import Clock
from services.chat.domain import Author, Stay
from services.chat.ports import Attendance

#: Seconds after which a stream expires unless its replica extends it, and seconds between two extensions.
TTL, REFRESH = 10.0, 3.0
#: Seconds between two calls of `keep`, and so the delay until a user who left is removed.
TURN = 0.5
#: The most streams extended in one transaction, and the most users read at once.
BATCH = 500


class Presence:
    """The streams that this process holds open. Call `keep` every `TURN`.

    Args:
        attendance: Records the streams.
        now: Returns the time in Unix seconds; the replicas' clocks must agree.
    """

    def __init__(self, attendance: Attendance, now: Clock) -> None:
        self._attendance, self._now = attendance, now
        self._here: dict[str, Stay] = {}
        # Bounded: a stream that falls out is no longer extended, and expires.
        self._gone: deque[str] = deque(maxlen=10 * BATCH)
        self._due = 0.0

    @asynccontextmanager
    async def staying(self, room: str, author: Author) -> AsyncIterator[None]:
        """Record that the author is in the room until the end of the block."""
        stay = Stay(uuid.uuid4().hex, room, author)
        await self._attendance.enter([stay], self._now() + TTL)
        self._here[stay.id] = stay
        try:
            yield
        finally:
            # Not written here: a drain ends thousands at once, and a transaction for each would delay it.
            del self._here[stay.id]
            self._gone.append(stay.id)

    async def keep(self) -> None:
        """Remove the streams that have ended, and extend the open ones when that is due."""
        while self._gone:
            batch = [self._gone.popleft() for _ in range(min(BATCH, len(self._gone)))]
            await self._attendance.leave(batch)
        if self._now() >= self._due:
            await self._refresh()
            self._due = self._now() + REFRESH

    async def _refresh(self) -> None:
        here = list(self._here.values())
        for start in range(0, len(here), BATCH):
            # Some may have ended since: the next call of `keep` removes them.
            await self._attendance.enter(here[start : start + BATCH], self._now() + TTL)
        await self._attendance.expire(self._now())

    async def online(self, room: str) -> AsyncIterator[Author]:
        """Yield the users in a room, in any replica, each once, ordered by user id."""
        after = 0
        while batch := await self._attendance.online(room, self._now(), after, BATCH):
            for author in batch:
                yield author
            after = batch[-1].user_id


@asynccontextmanager
async def leaving(presence: Presence) -> AsyncIterator[None]:
    """Remove what this process recorded, at the end of the block, when the streams have ended."""
    try:
        yield
    finally:
        await presence.keep()
