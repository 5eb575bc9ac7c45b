"""A follower's wake-up calls: a short poll on SQLite; on PostgreSQL notices, and a slow poll beside them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from services.kit.background import repeating
from services.kit.db import Database
from services.kit.follow import TICK

K_contra = TypeVar("K_contra", contravariant=True)
K = TypeVar("K")


class Wakeable(Protocol[K_contra]):
    """A `services.kit.follow.Follower`, or what stands before it."""

    @property
    def look(self) -> Callable[[], Awaitable[None]]: ...
    @property
    def wake(self) -> Callable[[K_contra | None], None]: ...


@asynccontextmanager
async def following(
    db: Database, channel: str, follower: Wakeable[K], key: Callable[[str], K]
) -> AsyncIterator[None]:
    """Wakes a follower's streams whenever something changes, until the end of the block.

    Args:
        db: Whose changes.
        channel: Named by `db.notify(connection, channel, str(key))` in each transaction that changes
            something; without a key it wakes all streams.
        follower: To wake.
        key: Reads a key from a notice's payload, such as `int`.
    """
    async with (
        repeating(follower.look, db.tick(TICK), f"following of {channel}"),
        db.listen(channel, lambda payload: follower.wake(key(payload) if payload else None)),
    ):
        yield
