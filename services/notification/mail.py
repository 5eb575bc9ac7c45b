"""The shop's letters by e-mail."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from grpcmesh.clock import Clock

#: Seconds for which a letter waits; the codes in them are good for less.
KEPT = 3600.0
#: Seconds between two looks for letters that have waited too long.
INTERVAL = 60.0
MAX_ADDRESS, MAX_SUBJECT, MAX_BODY = 254, 200, 4000


@dataclass(frozen=True, slots=True)
class Letter:
    """What is sent. The body may hold a code, so no repr shows it. `id` 0: not recorded yet."""

    user_id: int
    to: str
    subject: str
    body: str = field(repr=False)
    event_id: str | None = None
    id: int = 0
    created_at: float = 0.0


class Store(Protocol):
    """Where letters wait. Each method is one transaction."""

    async def post(self, letter: Letter, now: float) -> None:
        """Records it, unless one was recorded under its event's id."""
        ...

    async def letters(self, to: str, limit: int) -> Sequence[Letter]:
        """The newest first; to everybody where `to` is empty."""
        ...

    async def drop_letters(self, before: float) -> int:
        """Drops letters from before that (Unix seconds); how many that were."""
        ...


class Mail:
    """Args:
    store: Where letters wait until a mail system takes them.
    now: Unix seconds.
    """

    def __init__(self, store: Store, now: Clock) -> None:
        self._store, self._now = store, now

    async def send(self, letter: Letter) -> None:
        """Have a letter sent, once per event."""
        await self._store.post(letter, self._now())

    async def letters(self, to: str, limit: int) -> Sequence[Letter]:
        """Those that wait, the newest first; to everybody where `to` is empty."""
        return await self._store.letters(to, limit)

    async def forget(self) -> int:
        """Drop letters that have waited too long; how many that were."""
        return await self._store.drop_letters(self._now() - KEPT)
