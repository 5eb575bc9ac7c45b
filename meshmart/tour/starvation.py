"""Whether the processes of a scene had the CPU that measuring takes.

A scene measures with the clock of its own event loop. Where the machine gives the process no CPU for a
second, every call in flight takes a second longer, and calls with deadlines fail; where a replica gets none,
it sheds load. Neither says anything about the mesh. Linux tells how long a thread was ready to run and did
not (`schedstat`, second figure, in nanoseconds); elsewhere the event loop's lag stands in for it. Replicas
are watched where they run on this machine: on the embedded cluster.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from grpcmesh.clock import Clock, monotonic

#: Seconds between two looks.
PERIOD = 0.1
#: A scene is not measured where a process waited so long at a time (seconds; half of the tightest bound in
#: time), or for this share of the scene's time.
LONGEST, SHARE = 0.5, 0.25
#: Of this thread, and of a process's main thread, which runs its event loop.
_OWN, _OF_PROCESS = Path("/proc/thread-self/schedstat"), "/proc/{}/schedstat"
#: Whether this kernel tells.
_KNOWN = _OWN.exists()
#: How this process is called.
_OURSELVES = "this process"

Waited = Callable[[], float]
"""Seconds that a thread has waited for a CPU since it began. OSError: it is gone."""


@dataclass(slots=True)
class Starvation:
    """How long a process waited for a CPU."""

    name: str = _OURSELVES
    elapsed: float = 0.0
    """Seconds of watching."""
    waited: float = 0.0
    """Seconds of waiting in all."""
    longest: float = 0.0
    """Seconds of waiting between two looks, at most."""

    def add(self, elapsed: float, waited: float) -> None:
        """Takes in what happened since the last look, in seconds."""
        self.elapsed += elapsed
        self.waited += waited
        self.longest = max(self.longest, waited)

    @property
    def starved(self) -> bool:
        """Whether what was measured meanwhile says more about this machine than about the mesh."""
        return self.longest >= LONGEST or self.waited > SHARE * self.elapsed > 0

    def __str__(self) -> str:
        return (
            f"{self.name} waited {self.waited:.1f} s of {self.elapsed:.1f} s for a CPU, "
            f"{self.longest:.2f} s at a time"
        )


@dataclass(slots=True)
class Watch:
    """This process, and those that it depends on."""

    processes: list[Starvation] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """Who was starved, this process first, then the one that waited longest; empty: nobody was."""
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
    """Watches this process, and replicas, until the end of the block.

    Args:
        replicas: Process ids of those on this machine, by name.
        clock: Monotonic seconds.
        waited: Of this process, instead of the kernel's word.
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
    """None where the process is gone, or nobody knows."""
    try:
        return waited() if waited else None
    except OSError:
        return None


def _kernel(schedstat: Path) -> Waited | None:
    """The kernel's word; None where it gives none."""
    return (lambda: int(schedstat.read_text().split()[1]) / 1e9) if _KNOWN else None
