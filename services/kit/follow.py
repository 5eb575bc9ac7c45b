"""Streams that follow a thing in the database, whichever replica changes it.

The table itself is the queue between a change and its readers: a slow reader lags behind in the table, and
nothing grows in memory. Once per tick, one query asks for the versions of all the keys (an order, a room, a
user) that the process's streams follow, and wakes the streams whose key has changed.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Awaitable, Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from grpcmesh.clock import Rng, system_rng
from grpcmesh.errors import ResourceExhausted, Unavailable
from services.kit.settings import one_or_more

#: Poll interval of the versions, in seconds.
TICK = 0.2
#: The most streams that one follower holds open.
MAX_STREAMS = 5000
#: The most items read at once. A stalled reader holds so many in memory.
READ = 100
#: Keys asked about in one query (SQLite binds 32,766 at most).
BATCH = 500
#: Seconds after which a stream is ended, so that long-lived streams move to new replicas.
MAX_AGE = 3600.0
#: The largest cursor: it is a signed 64-bit integer on the wire and in the database.
MAX_CURSOR = 2**63 - 1


class Item(Protocol):
    """An item of a stream. The cursors of a key grow in the order of commits."""

    @property
    def cursor(self) -> int: ...


K = TypeVar("K", bound=Hashable)
T = TypeVar("T", bound=Item)

#: Called with a cursor and a limit; returns at most that many items after the cursor, the oldest first.
ReadSince = Callable[[int, int], Awaitable[Sequence[T]]]


@dataclass(slots=True, eq=False)
class _Watch:
    ends: float
    version: int
    moved: asyncio.Event = field(default_factory=asyncio.Event)


class Follower(Generic[K]):
    """The streams of a process that follow keys of one kind. Call `look` every `TICK`.

    Args:
        read_versions: Returns the version of each key: the cursor of its last item, or more. Keys that do not
            exist may be left out.
        max_age: Maximum age of a stream in seconds. Each stream gets up to a tenth less, so that they do not
            all end together.
        rng: Draws that reduction.
    """

    def __init__(
        self,
        read_versions: Callable[[Sequence[K]], Awaitable[Mapping[K, int]]],
        *,
        max_age: float = MAX_AGE,
        rng: Rng | None = None,
    ) -> None:
        self._read_versions, self._max_age, self._rng = read_versions, max_age, rng or system_rng()
        self._watches: defaultdict[K, set[_Watch]] = defaultdict(set)
        self._streams = 0

    @property
    def streams(self) -> int:
        """Return the number of open streams."""
        return self._streams

    async def follow(self, key: K, after: int, read_since: ReadSince[T]) -> AsyncGenerator[T, None]:
        """Yield every item after a cursor, without end.

        Args:
            key: The key to follow.
            after: The cursor.
            read_since: Reads the items.

        Raises:
            ResourceExhausted: too many streams are open.
            Unavailable: the stream has reached its maximum age; resume with the last cursor.
        """
        with self._watching(key, after) as watch:
            while True:
                watch.moved.clear()  # first: what is committed after the read sets it again
                batch = await read_since(after, READ)
                for item in batch:
                    yield item
                    after = item.cursor
                watch.version = max(watch.version, after)
                full, batch = len(batch) == READ, ()  # a reader that waits holds nothing
                if not full:
                    await _moved(watch)

    async def look(self) -> None:
        """Wake the streams whose key has changed since the last call."""
        keys = list(self._watches)
        for start in range(0, len(keys), BATCH):
            versions = await self._read_versions(keys[start : start + BATCH])
            for key, version in versions.items():
                self._wake(key, version)

    def wake(self, key: K | None = None) -> None:
        """Wake the streams of a key at once (None: all streams), after a notification of a commit."""
        for watched in [key] if key is not None else list(self._watches):
            for watch in self._watches.get(watched, ()):
                watch.moved.set()

    def _wake(self, key: K, version: int) -> None:
        for watch in self._watches.get(key, ()):
            if version > watch.version:
                watch.version = version
                watch.moved.set()

    @contextmanager
    def _watching(self, key: K, after: int) -> Iterator[_Watch]:
        if self._streams >= MAX_STREAMS:
            raise ResourceExhausted("too many streams are open here", retry_after=1.0)
        age = self._max_age * (1 - self._rng.random() / 10)
        watch = _Watch(asyncio.get_running_loop().time() + age, after)
        self._watches[key].add(watch)
        self._streams += 1
        try:
            yield watch
        finally:
            self._streams -= 1
            self._watches[key].discard(watch)
            if not self._watches[key]:
                del self._watches[key]


async def _moved(watch: _Watch) -> None:
    """Wait until the key has changed.

    Raise Unavailable when the stream reaches its age, however busy the key is.
    """
    try:
        async with asyncio.timeout_at(watch.ends):
            await asyncio.sleep(0)  # or a busy key would never meet the timeout
            await watch.moved.wait()
    except TimeoutError:
        raise Unavailable("this stream has reached its age; resume with its cursor") from None


async def remaining(after: int, read_since: ReadSince[T]) -> AsyncGenerator[T, None]:
    """Yield every item after the cursor that exists now."""
    while batch := await read_since(after, READ):
        for item in batch:
            yield item
        after = batch[-1].cursor


def stream_max_age(environ: Mapping[str, str]) -> float:
    """Return MESHMART_STREAM_MAX_AGE in seconds, or `MAX_AGE` if it is not set.

    Raises:
        ConfigError: it is not a finite number of at least 1.
    """
    return one_or_more(environ, "MESHMART_STREAM_MAX_AGE", MAX_AGE, "seconds")
