"""How long a service keeps what is no book: what users were told and said, and keys that are spent.

Orders, payments, refunds and the stock that is held for orders are books, and are kept.
"""

from collections.abc import Awaitable, Callable, Mapping

from services.kit.settings import one_or_more

DAY = 86_400.0
KEPT_DAYS = 90.0
#: Seconds between two times that what is older is dropped.
INTERVAL = 600.0
#: Rows dropped in one transaction, so that nobody waits for long.
PIECE = 1000
_DAYS = "MESHMART_KEPT_DAYS"


def kept_for(environ: Mapping[str, str]) -> float:
    """MESHMART_KEPT_DAYS, or `KEPT_DAYS`, in seconds.

    Raises:
        ConfigError: it is not a number of days, 1 or more.
    """
    return one_or_more(environ, _DAYS, KEPT_DAYS, "days") * DAY


async def in_pieces(drop: Callable[[int], Awaitable[int]]) -> int:
    """Calls `drop`, which drops at most so many rows and says how many, until none is left; their sum."""
    total = 0
    while True:
        dropped = await drop(PIECE)
        total += dropped
        if dropped < PIECE:
            return total
