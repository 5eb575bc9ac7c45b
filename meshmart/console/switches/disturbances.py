"""Keeps what the console disturbs now, and puts each disturbance back when its time is over.

Each also holds a lease in the place that it disturbs (a replica, the supervisor, the Deployment), and this
process renews it (`meshmart.leases`). If the console dies, the leases expire within half a minute.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from grpcmesh.clock import Clock
from local.errors import ClusterError

#: The most disturbances at a time.
MOST = 200
#: Seconds that putting back one disturbance may take.
PATIENCE = 300.0


@dataclass(frozen=True, slots=True)
class Disturbance:
    """Something that the console has changed in the mesh, and how to put it back."""

    key: Hashable
    """Identifies what is disturbed: a second disturbance with the same key replaces the first."""
    words: str
    """What is disturbed, in words, such as `product/2 hangs`."""
    who: str
    ends: float
    """When it ends, in monotonic seconds."""
    undo: Callable[[], Awaitable[None]]
    """Puts it back. Raises ClusterError if that fails; then the disturbance ends with its lease."""
    service: str = ""
    replica: int = 0
    """The number of the replica; 0 if the whole service is disturbed."""
    id: str = field(default_factory=lambda: secrets.token_hex(6))


class Disturbances:
    """The disturbances that have not ended.

    Args:
        clock: Returns monotonic seconds.
        told: Called with a disturbance that ended by itself, and the problem if it could not be put back.
    """

    def __init__(self, clock: Clock, told: Callable[[Disturbance, str], Awaitable[None]]) -> None:
        self._clock, self._told = clock, told
        self._all: dict[Hashable, Disturbance] = {}
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run(), name="disturbances")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop watching. The disturbances still end with their leases."""
        if self._task:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def __iter__(self) -> Any:
        return iter(list(self._all.values()))

    def __len__(self) -> int:
        return len(self._all)

    def room(self, count: int) -> bool:
        """Return whether `count` more may begin."""
        return len(self._all) + count <= MOST

    def add(self, disturbance: Disturbance) -> None:
        """Note a disturbance that has begun."""
        self._all[disturbance.key] = disturbance
        self._changed.set()

    def forget(self, key: Hashable) -> Disturbance | None:
        """Note that a disturbance has ended by itself, and return it, if there is one."""
        return self._all.pop(key, None)

    def find(self, number: str) -> Disturbance | None:
        return next((d for d in self._all.values() if d.id == number), None)

    async def undo(self, which: Sequence[Disturbance]) -> Mapping[str, str]:
        """Put disturbances back, all at once.

        Returns:
            The problem of each disturbance that could not be put back, by the disturbance's words.
        """
        problems = await asyncio.gather(*(self._undo(d) for d in which))
        return {d.words: problem for d, problem in zip(which, problems, strict=True) if problem}

    def told(self) -> list[dict[str, Any]]:
        """Return what is disturbed, as JSON's types; `left` is in seconds."""
        now = self._clock()
        return [
            {
                "id": d.id,
                "words": d.words,
                "who": d.who,
                "service": d.service,
                "replica": d.replica,
                "left": round(max(0.0, d.ends - now)),
            }
            for d in self._all.values()
        ]

    async def _undo(self, disturbance: Disturbance) -> str:
        if self._all.get(disturbance.key) is disturbance:
            del self._all[disturbance.key]
        try:
            async with asyncio.timeout(PATIENCE):
                await disturbance.undo()
        except ClusterError as e:
            return str(e)
        except TimeoutError:
            return f"it was not back within {PATIENCE:g} s"
        return ""

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as ending:
            while True:
                self._changed.clear()
                for over in [d for d in self._all.values() if d.ends <= self._clock()]:
                    del self._all[over.key]
                    ending.create_task(self._end(over))
                ends = min((d.ends for d in self._all.values()), default=None)
                try:
                    async with asyncio.timeout(None if ends is None else max(0.0, ends - self._clock())):
                        await self._changed.wait()
                except TimeoutError:
                    continue

    async def _end(self, disturbance: Disturbance) -> None:
        if disturbance.key in self._all:
            return  # another one replaced it before this task began, and putting it back would end that one
        await self._told(disturbance, await self._undo(disturbance))
