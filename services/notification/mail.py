"""The shop's letters by e-mail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from grpcmesh.clock import Clock

#: Seconds for which a letter waits; the codes in letters are valid for a shorter time.
KEPT = 3600.0
#: Seconds between two deletions of letters that have waited too long.
INTERVAL = 60.0
MAX_ADDRESS, MAX_SUBJECT, MAX_BODY = 254, 200, 4000


@dataclass(frozen=True, slots=True)
class Letter:
    """An e-mail to send. The body may hold a code, so no repr shows it. `id` is 0 before it is recorded."""

    user_id: int
    to: str
    subject: str
    body: str = field(repr=False)
    event_id: str | None = None
    id: int = 0
    created_at: float = 0.0


class Store(Protocol):
    """Port: stores letters. Each method is one transaction."""

    async def post(self, letter: Letter, now: float) -> None:
        """Record a letter, unless one is recorded with its event id. `now` is in Unix seconds."""
        ...

    async def letters(self, to: str, limit: int) -> Sequence[Letter]:
        """Return at most `limit` letters to an address, the newest first.

        If `to` is empty, to any address.
        """
        ...

    async def drop_letters(self, before: float) -> int:
        """Delete letters from before the Unix time `before`. Return how many."""
        ...


class Mail:
    """Sends letters.

    Args:
        store: Stores letters until a mail system takes them.
        now: Returns the time in Unix seconds.
    """

    def __init__(self, store: Store, now: Clock) -> None:
        self._store, self._now = store, now

    async def send(self, letter: Letter) -> None:
        """Queue a letter, once per event."""
        await self._store.post(letter, self._now())

    async def letters(self, to: str, limit: int) -> Sequence[Letter]:
        """Return the letters that wait, the newest first. If `to` is empty, to any address."""
        return await self._store.letters(to, limit)

    async def forget(self) -> int:
        """Delete letters that have waited too long. Return how many."""
        return await self._store.drop_letters(self._now() - KEPT)
