"""Inserts a row under a unique key or reads the existing one, safe against concurrent changes."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

from grpcmesh.errors import Unavailable
from services.kit.transient import RETRY_AFTER

#: Rounds of inserting and reading before the caller is asked to try again.
ATTEMPTS = 5

T = TypeVar("T")


async def insert_or_find(
    insert: Callable[[], Awaitable[T | None]], find: Callable[[], Awaitable[T | None]]
) -> tuple[T, bool]:
    """Return the row under a key, and whether this call inserted it.

    The row that keeps `insert` from succeeding may be gone when `find` looks for it: its key was set free,
    or retention has dropped it. Then the key can be taken after all.

    Args:
        insert: Inserts the row in one transaction; returns None if the key is taken.
        find: Reads the row under the key; returns None if there is none.

    Raises:
        Unavailable: the row came and went in each of `ATTEMPTS` rounds.
    """
    for _ in range(ATTEMPTS):
        if (inserted := await insert()) is not None:
            return inserted, True
        if (found := await find()) is not None:
            return found, False
    raise Unavailable("others keep changing what this key stands for; try again", RETRY_AFTER)
