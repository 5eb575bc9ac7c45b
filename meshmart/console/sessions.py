"""The sessions of admins who are logged in. Pure: they are in memory, and end with the process."""

import asyncio
import hashlib
import secrets
from dataclasses import dataclass, field

from grpcmesh.clock import Clock

#: Seconds after which a session ends: since the last request, and since the log-in.
IDLE, AGE = 30 * 60.0, 8 * 3600.0
#: The most sessions. A further one ends the session that was used the longest ago.
MAX_SESSIONS = 100
#: Bytes of randomness in a session's id.
_RANDOM = 32


@dataclass(slots=True)
class Session:
    """An admin who is logged in. Times are in monotonic seconds."""

    name: str
    began: float
    used: float
    check_at: float
    """When to ask the user service again whether this log-in is good."""
    secret: str = ""
    """The refresh token of the log-in at the user service."""
    checking: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while the user service is asked, because a refresh token is good once."""

    def __repr__(self) -> str:
        return f"Session({self.name!r})"


class Sessions:
    """The sessions, by the digest of their id, so that a dump of the keys contains no valid id.

    Args:
        clock: Returns monotonic seconds.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all: dict[str, Session] = {}

    def begin(self, name: str, secret: str, check_at: float) -> str:
        """Begin a session, and return its id."""
        now = self._clock()
        self._all = {key: s for key, s in self._all.items() if not _over(s, now)}
        while len(self._all) >= MAX_SESSIONS:
            del self._all[min(self._all, key=lambda key: self._all[key].used)]
        number = secrets.token_urlsafe(_RANDOM)
        self._all[_digest(number)] = Session(name, now, now, check_at, secret)
        return number

    def find(self, number: str) -> Session | None:
        """Return a session that has not ended. This counts as its use."""
        key, now = _digest(number), self._clock()
        session = self._all.get(key)
        if session is None:
            return None
        if _over(session, now):
            del self._all[key]
            return None
        session.used = now
        return session

    def end(self, number: str) -> Session | None:
        """End a session and return it; None if there is none."""
        return self._all.pop(_digest(number), None)

    def __len__(self) -> int:
        return len(self._all)


def _over(session: Session, now: float) -> bool:
    return now - session.used >= IDLE or now - session.began >= AGE


def _digest(number: str) -> str:
    return hashlib.sha256(number.encode("utf-8", "surrogatepass")).hexdigest()
