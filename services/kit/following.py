"""Wakes a follower: by a short poll on SQLite; by notifications and a slow poll on PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from services.kit.background import repeating
from services.kit.db import Database
from services.kit.follow import TICK

K_contra = TypeVar("K_contra", contravariant=True)
K = TypeVar("K")


class Wakeable(Protocol[K_contra]):
    """A `services.kit.follow.Follower`, or an object that forwards to one."""

    @property
    def look(self) -> Callable[[], Awaitable[None]]: ...
    @property
    def wake(self) -> Callable[[K_contra | None], None]: ...


@asynccontextmanager
async def following(
    db: Database, channel: str, follower: Wakeable[K], key: Callable[[str], K]
) -> AsyncIterator[None]:
    """Wake a follower's streams whenever something changes, until the end of the block.

    Args:
        db: The database to watch.
        channel: The channel on which each transaction that changes something calls `db.notify(connection,
            channel, str(key))`. A notification without a key wakes all streams.
        follower: The follower to wake.
        key: Parses a key from a notification's payload, such as `int`.
    """
    async with (
        repeating(follower.look, db.tick(TICK), f"following of {channel}"),
        db.listen(channel, lambda payload: follower.wake(key(payload) if payload else None)),
    ):
        yield
