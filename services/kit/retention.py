"""How long a service keeps data that is not accounting: notifications, chat messages and spent keys.

Orders, payments, refunds and the stock that is held for orders are accounting records, and are kept.
"""

from collections.abc import Awaitable, Callable, Mapping

import sqlalchemy as sa

from services.kit.db import Database
from services.kit.settings import one_or_more

DAY = 86_400.0
KEPT_DAYS = 90.0
#: Seconds between two deletions of expired rows.
INTERVAL = 600.0
#: Rows dropped in one transaction, so that nobody waits for long.
PIECE = 1000
_DAYS = "MESHMART_KEPT_DAYS"


def kept_for(environ: Mapping[str, str]) -> float:
    """Return the retention in seconds: MESHMART_KEPT_DAYS, or `KEPT_DAYS` if it is not set.

    Raises:
        ConfigError: it is not a finite number of days of at least 1.
    """
    return one_or_more(environ, _DAYS, KEPT_DAYS, "days") * DAY


async def in_pieces(drop: Callable[[int], Awaitable[int]]) -> int:
    """Call `drop` until nothing is left to delete, and return the sum of its results.

    Args:
        drop: Deletes at most the given number of rows, and returns how many it deleted.
    """
    total = 0
    while True:
        dropped = await drop(PIECE)
        total += dropped
        if dropped < PIECE:
            return total


def delete_oldest(
    table: sa.Table, age: sa.Column[int] | sa.Column[float], *old: sa.ColumnElement[bool]
) -> sa.Delete:
    """Return a DELETE of at most `:most` of the rows that are `old`, the oldest first.

    It reads from an index that begins with `age`, or with columns that `old` fixes followed by `age`.
    Replicas that run it at the same time skip each other's rows.
    """
    key = table.primary_key.columns.values()
    oldest = sa.select(*key).where(*old).order_by(age).limit(sa.bindparam("most"))
    oldest = oldest.with_for_update(skip_locked=True)
    place = key[0] if len(key) == 1 else sa.tuple_(*key)
    return sa.delete(table).where(place.in_(oldest))


async def expire(db: Database, drop: Callable[[sa.Connection, int], int]) -> int:
    """Delete expired rows, `PIECE` per transaction, and count them. Return how many it deleted.

    Args:
        db: The database.
        drop: Deletes at most the given number of rows, and returns how many it deleted.
    """

    async def piece(most: int) -> int:
        dropped = await db.write(lambda connection: drop(connection, most))
        db.metrics.expired(dropped)
        return dropped

    return await in_pieces(piece)


async def drop_old(db: Database, statement: sa.Delete) -> int:
    """Delete every row that `statement` (of `delete_oldest`) finds, as `expire` does.

    Return how many it deleted.
    """
    return await expire(db, lambda connection, most: connection.execute(statement, {"most": most}).rowcount)
