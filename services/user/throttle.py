"""How often a password may be guessed. Pure.

Failures are counted by account and address together, so that a stranger elsewhere cannot lock anybody out,
and by address alone, at a higher threshold, for whoever tries one password on many accounts. The counts are
in the database: all replicas share them.
"""

import hashlib
from dataclasses import dataclass

from services.kit.text import fold
from services.user.domain import Origin

#: Seconds after which failures are forgotten, and the longest wait.
WINDOW = 900
#: Failures that cost nothing: of one account from one address, and of one address.
FREE, FREE_OF_ADDRESS = 5, 100
#: Seconds to wait after the first that costs; each further one doubles it.
_PAUSE = 30.0


@dataclass(frozen=True, slots=True)
class Failures:
    """Failures of one key. `last_at` in Unix seconds."""

    count: int = 0
    last_at: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """A key that failures are counted by, and how many of them are free."""

    key: str
    free: int


def limits(origin: Origin) -> tuple[Limit, ...]:
    """What a log-in is limited by. The keys are digests: who tried to log in where is not kept."""
    account = _digest(f"{origin.address}\0{fold(origin.account)}")
    return Limit(account, FREE), Limit(_digest(origin.address), FREE_OF_ADDRESS)


def wait(failures: Failures, limit: Limit, now: float) -> float:
    """Seconds until the next try is allowed: none at first, then 30, 60, 120 … up to `WINDOW`."""
    over = failures.count - limit.free
    if over < 0:
        return 0.0
    pause = min(_PAUSE * 2.0 ** min(over, 16), WINDOW)
    return max(0.0, failures.last_at + pause - now)


def failed(failures: Failures, now: float) -> Failures:
    """One more."""
    fresh = now < failures.last_at + WINDOW
    return Failures(failures.count + 1 if fresh else 1, int(now))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
