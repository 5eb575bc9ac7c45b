"""Limits how often a password may be guessed. Pure.

Failures are counted by account and address together, so that a stranger at another address cannot lock out a
user, and by address alone with a higher threshold, against somebody who tries one password on many accounts.
The counts are in the database: all replicas share them.
"""

import hashlib
from dataclasses import dataclass

from services.kit.text import fold
from services.user.domain import Origin

#: Seconds after which failures are forgotten; also the longest wait.
WINDOW = 900
#: Failures without a wait: of one account from one address, and of one address.
FREE, FREE_OF_ADDRESS = 5, 100
#: Seconds to wait after the first failure beyond those; each further one doubles the wait.
_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one key. `last_at` is in Unix seconds."""

    count: int = 0
    last_at: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """A key by which failures are counted, and the number of failures without a wait."""

    key: str
    free: int


def limits(origin: Origin) -> tuple[Limit, ...]:
    """Return the limits of a log-in.

    The keys are digests, so that nothing tells who tried to log in where.
    """
    account = _digest(f"{origin.address}\0{fold(origin.account)}")
    return Limit(account, FREE), Limit(_digest(origin.address), FREE_OF_ADDRESS)


def wait(failures: Failures, limit: Limit, now: float) -> float:
    """Return the seconds until the next try is allowed: 0 at first, then 30, 60, 120 … up to `WINDOW`."""
    over = failures.count - limit.free
    if over < 0:
        return 0.0
    pause = min(_PAUSE * 2.0 ** min(over, 16), WINDOW)
    return max(0.0, failures.last_at + pause - now)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
