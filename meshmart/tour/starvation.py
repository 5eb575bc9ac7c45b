"""Detects whether the processes of a scene got enough CPU for a measurement.

A scene measures with the clock of its own event loop. If the machine gives the process no CPU for a second,
every call in flight takes a second longer, and calls with deadlines fail; if a replica gets none, it sheds
load. Neither says anything about the mesh. Linux reports how long a thread was ready to run but did not
(`schedstat`, second figure, in nanoseconds); elsewhere the event loop's lag is used instead. Replicas are
watched if they run on this machine, as on the embedded cluster.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpcmesh.clock import Clock, monotonic

#: The sampling interval, in seconds.
PERIOD = 0.1
#: A scene does not count as measured if a process waited this long at a time (seconds; half of the tightest
#: time bound), or in all for that long and for this share of the scene's time: a scene that ended at once
#: has failed, however busy the machine was.
LONGEST, SHARE = 0.5, 0.25
#: The files of this thread, and of a process's main thread, which runs its event loop.
_OWN, _OF_PROCESS = Path("/proc/thread-self/schedstat"), "/proc/{}/schedstat"
#: Whether this kernel reports it.
_KNOWN = _OWN.exists()
#: The name of this process in messages.
_OURSELVES = "this process"

Waited = Callable[[], float]
"""Returns the seconds that a thread has waited for a CPU since it began. Raises OSError if it has ended."""


@dataclass(slots=True)
class Starvation:
    """The time that a process waited for a CPU."""

    name: str = _OURSELVES
    elapsed: float = 0.0
    """The seconds for which it was watched."""
    waited: float = 0.0
    """The seconds that it waited in all."""
    longest: float = 0.0
    """The most seconds that it waited between two samples."""

    def add(self, elapsed: float, waited: float) -> None:
        """Record what happened since the last sample, in seconds."""
        self.elapsed += elapsed
        self.waited += waited
        self.longest = max(self.longest, waited)

    @property
    def starved(self) -> bool:
        """Return whether what was measured meanwhile says more about this machine than about the mesh."""
        return self.longest >= LONGEST or self.waited > max(SHARE * self.elapsed, LONGEST)

    def __str__(self) -> str:
        return (
            f"{self.name} waited {self.waited:.1f} s of {self.elapsed:.1f} s for a CPU, "
            f"{self.longest:.2f} s at a time"
        )


@dataclass(slots=True)
class Watch:
    """The CPU waits of this process and of those that it depends on."""

    processes: list[Starvation] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Return who was starved, this process first, then the one that waited longest; empty if none was."""
        starved = [p for p in self.processes if p.starved]
        starved.sort(key=lambda p: (p.name != _OURSELVES, -p.waited))
        more = f" (and {len(starved) - 1} more)" if len(starved) > 1 else ""
        return f"{starved[0]}{more}" if starved else ""


@contextlib.asynccontextmanager
async def watched(
    replicas: Mapping[str, int] | None = None,
    *,
    clock: Clock = monotonic,
    waited: Waited | None = None,
) -> AsyncIterator[Watch]:
    """Watch this process, and replicas, until the end of the block.

    Args:
        replicas: The process ids of replicas on this machine, by name.
        clock: Monotonic seconds.
        waited: Replaces the kernel's figure for this process.
    """
    looks = [(Starvation(), waited or _kernel(_OWN)), *_of_replicas(replicas or {})]
    task = asyncio.create_task(_watch(looks, clock), name="starvation")
    try:
        yield Watch([seen for seen, _ in looks])
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(looks: list[tuple[Starvation, Waited | None]], clock: Clock) -> None:
    last, totals = clock(), [_total(waited) for _, waited in looks]
    while True:
        await asyncio.sleep(PERIOD)
        now = clock()
        for index, (seen, waited) in enumerate(looks):
            total, before = _total(waited), totals[index]
            if waited is None:
                seen.add(now - last, max(0.0, now - last - PERIOD))
            elif total is not None and before is not None:
                seen.add(now - last, total - before)
            totals[index] = total
        last = now


def _of_replicas(replicas: Mapping[str, int]) -> list[tuple[Starvation, Waited | None]]:
    if not _KNOWN:
        return []
    return [(Starvation(name), _kernel(Path(_OF_PROCESS.format(pid)))) for name, pid in replicas.items()]


def _total(waited: Waited | None) -> float | None:
    """Return the seconds waited, or None if the process has ended or the kernel does not report them."""
    try:
        return waited() if waited else None
    except OSError:
        return None


def _kernel(schedstat: Path) -> Waited | None:
    """Return a function that reads the kernel's figure, or None if the kernel does not report it."""
    return (lambda: int(schedstat.read_text().split()[1]) / 1e9) if _KNOWN else None
