"""Whether this process had the CPU that measuring takes.

A scene measures with the clock of its own event loop. Where the machine gives the process no CPU for a
second, every call in flight takes a second longer, and calls with deadlines fail: that says nothing about
the mesh. Linux tells how long a thread was ready to run and did not (`/proc/thread-self/schedstat`, second
figure, in nanoseconds); elsewhere the event loop's lag stands in for it.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from grpcmesh.clock import Clock, monotonic

#: Seconds between two looks.
PERIOD = 0.1
#: A scene is not measured where it waited so long at a time (seconds; half of the tightest bound in time), or
#: for this share of its time.
LONGEST, SHARE = 0.5, 0.25
_SCHEDSTAT = Path("/proc/thread-self/schedstat")

Waited = Callable[[], float]
"""Seconds that this thread has waited for a CPU since it began."""


@dataclass(slots=True)
class Starvation:
    """How long a process waited for a CPU."""

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
            f"this process waited {self.waited:.1f} s of {self.elapsed:.1f} s for a CPU, "
            f"{self.longest:.2f} s at a time"
        )


@contextlib.asynccontextmanager
async def watched(clock: Clock = monotonic, waited: Waited | None = None) -> AsyncIterator[Starvation]:
    """Watches this process until the end of the block.

    Args:
        clock: Monotonic seconds.
        waited: Instead of the kernel's word.
    """
    seen = Starvation()
    task = asyncio.create_task(_watch(seen, clock, waited or _waited()), name="starvation")
    try:
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(seen: Starvation, clock: Clock, waited: Waited | None) -> None:
    last, last_waited = clock(), waited() if waited else 0.0
    while True:
        await asyncio.sleep(PERIOD)
        now = clock()
        if waited is None:
            seen.add(now - last, max(0.0, now - last - PERIOD))
        else:
            total = waited()
            seen.add(now - last, total - last_waited)
            last_waited = total
        last = now


def _waited() -> Waited | None:
    return _run_delay if _SCHEDSTAT.exists() else None


def _run_delay() -> float:
    return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
