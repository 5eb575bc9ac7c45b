"""How long a service keeps what is no book: what users were told and said, and keys that are spent.

Orders, payments, refunds and the stock that is held for orders are books, and are kept.
"""

from collections.abc import Awaitable, Callable, Mapping

import sqlalchemy as sa

from services.kit.db import Database
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


def delete_oldest(
    table: sa.Table, age: sa.Column[int] | sa.Column[float], *old: sa.ColumnElement[bool]
) -> sa.Delete:
    """Return a DELETE of at most `:most` rows of those that are `old`, the oldest first.

    It reads from an index that begins with `age`, or with columns that `old` fixes and then `age`. Replicas
    that do the same at the same time pass over each other's rows.
    """
    key = table.primary_key.columns.values()
    oldest = sa.select(*key).where(*old).order_by(age).limit(sa.bindparam("most"))
    oldest = oldest.with_for_update(skip_locked=True)
    place = key[0] if len(key) == 1 else sa.tuple_(*key)
    return sa.delete(table).where(place.in_(oldest))


async def drop_old(db: Database, statement: sa.Delete) -> int:
    """Drop everything that `statement`, of `delete_oldest`, finds, `PIECE` rows a transaction; return how
    many rows that was."""

    async def drop(most: int) -> int:
        return await db.write(lambda connection: connection.execute(statement, {"most": most}).rowcount)

    return await in_pieces(drop)
