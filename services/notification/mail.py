"""The e-mail that the shop sends: letters, the ports that store and send them, and their outbox."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from grpcmesh.clock import Clock

_log = logging.getLogger(__name__)

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


class MailSystemError(Exception):
    """A letter could not be sent now; the text says why, without the letter's words or its address."""


class UnacceptableLetter(Exception):  # noqa: N818
    """The mail system will never accept this letter. The text says why, as in MailSystemError."""


class Mailer(Protocol):
    """Port: a mail system."""

    async def send(self, letter: Letter) -> None:
        """Send a letter. The caller may repeat this, so a letter can arrive twice.

        Raises:
            MailSystemError: the mail system did not accept it, but may later.
            UnacceptableLetter: the mail system will never accept it.
        """
        ...


class Store(Protocol):
    """Port: stores letters. Each method is one transaction."""

    async def post(self, letter: Letter, now: float) -> None:
        """Record a letter, unless one is recorded with its event id. `now` is in Unix seconds."""
        ...

    async def letter(self, letter_id: int) -> Letter | None:
        """Return the waiting letter with this id, or None if it does not wait any more."""
        ...

    async def drop_letter(self, letter_id: int) -> None:
        """Delete a letter, if it is still there."""
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

    async def deliver(self, letter_id: int, mailer: Mailer) -> None:
        """Send a letter and drop it. Does nothing where it was dropped, or has waited too long.

        Raises:
            MailSystemError: it was not sent, and stays for the next attempt.
        """
        letter = await self._store.letter(letter_id)
        if letter is None or letter.created_at < self._now() - KEPT:
            return
        try:
            await mailer.send(letter)
        except UnacceptableLetter as e:
            _log.warning("letter %d will never be taken, and is dropped: %s", letter_id, e)
        await self._store.drop_letter(letter_id)

    async def forget(self) -> int:
        """Delete letters that have waited too long. Return how many."""
        return await self._store.drop_letters(self._now() - KEPT)
