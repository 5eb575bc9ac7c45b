"""Repeats a change of an object that somebody else changed after it was read."""

import asyncio
from collections.abc import Awaitable, Callable

from meshmart.kubernetes.api import ApiError

_CONFLICT = 409
#: As often as client-go does it (`retry.DefaultRetry`), and longer between: a controller of a busy cluster
#: writes a Deployment's status several times a second while its pods start and end.
ATTEMPTS = 8
_FIRST_PAUSE = 0.02


async def repeated(change: Callable[[], Awaitable[object]]) -> None:
    """Call `change`, again after each conflict, up to `ATTEMPTS` times.

    Args:
        change: Reads the object and patches it with the version that it has read.

    Raises:
        ApiError: the last attempt's conflict, or at once whatever else the API refuses.
    """
    for attempt in range(1, ATTEMPTS + 1):
        try:
            await change()
            return
        except ApiError as e:
            if e.code != _CONFLICT or attempt == ATTEMPTS:
                raise
        await asyncio.sleep(_FIRST_PAUSE * 2 ** (attempt - 1))
