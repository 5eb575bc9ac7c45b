"""Who is in a room: a row for each open stream, which ends with it, or expires with its replica."""

import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from grpcmesh.clock import Clock
from services.chat.domain import Author, Stay
from services.chat.ports import Attendance

#: Seconds after which a stream whose replica says nothing is over, and between two of its words.
TTL, REFRESH = 10.0, 3.0
#: Seconds between two turns of `keep`: as late as that, somebody who left is gone.
TURN = 0.5
#: Streams spoken for in one transaction, users read at once.
BATCH = 500


class Presence:
    """The streams that this process holds open. `keep` is to be called every `TURN`.

    Args:
        attendance: Where it is recorded.
        now: Unix seconds, as all replicas know them.
    """

    def __init__(self, attendance: Attendance, now: Clock) -> None:
        self._attendance, self._now = attendance, now
        self._here: dict[str, Stay] = {}
        # Bounded: what falls out is no longer spoken for, and expires.
        self._gone: deque[str] = deque(maxlen=10 * BATCH)
        self._due = 0.0

    @asynccontextmanager
    async def staying(self, room: str, author: Author) -> AsyncIterator[None]:
        """The author is in the room until the end of the block."""
        stay = Stay(uuid.uuid4().hex, room, author)
        await self._attendance.enter([stay], self._now() + TTL)
        self._here[stay.id] = stay
        try:
            yield
        finally:
            # Not written here: a drain ends thousands at once, and a transaction each would hold it up.
            del self._here[stay.id]
            self._gone.append(stay.id)

    async def keep(self) -> None:
        """Strikes out who left, and speaks for who is here, when it is time."""
        while self._gone:
            batch = [self._gone.popleft() for _ in range(min(BATCH, len(self._gone)))]
            await self._attendance.leave(batch)
        if self._now() >= self._due:
            await self._refresh()
            self._due = self._now() + REFRESH

    async def _refresh(self) -> None:
        here = list(self._here.values())
        for start in range(0, len(here), BATCH):
            # Some may have left since: they are struck out at the next turn.
            await self._attendance.enter(here[start : start + BATCH], self._now() + TTL)
        await self._attendance.expire(self._now())

    async def online(self, room: str) -> AsyncIterator[Author]:
        """Who is in a room, in any replica, each once, by user id."""
        after = 0
        while batch := await self._attendance.online(room, self._now(), after, BATCH):
            for author in batch:
                yield author
            after = batch[-1].user_id


@asynccontextmanager
async def leaving(presence: Presence) -> AsyncIterator[None]:
    """At the end of the block, when the streams are over, strikes out who was here."""
    try:
        yield
    finally:
        await presence.keep()
