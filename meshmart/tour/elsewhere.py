"""Detects whether replicas on other machines got enough CPU for a measurement, by their metrics.

`meshmart.tour.starvation` reads the kernel's figures of processes on this machine. On Kubernetes replicas run
in pods, so their own figures are compared: those after a scene with those before.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from local.errors import ClusterError
from meshmart import scrape
from meshmart.tour.starvation import LONGEST, Starvation, Watch

if TYPE_CHECKING:
    from meshmart.tour.stage import Stage

#: The metrics of a replica: the seconds that its event loop's thread waited for a CPU, and how often it
#: waited for half a second or more at a time.
WAITED, STALLS = "mesh_event_loop_cpu_wait_seconds_total", "mesh_event_loop_cpu_stalls_total"


@dataclass(frozen=True)
class _Figures:
    """The figures of a replica, and when they were read (monotonic seconds)."""

    at: float
    waited: float
    stalls: float

    def until(self, later: "_Figures", name: str) -> Starvation:
        """Return what happened between these figures and later ones."""
        stalled = later.stalls > self.stalls
        return Starvation(name, later.at - self.at, later.waited - self.waited, LONGEST if stalled else 0.0)


@contextlib.asynccontextmanager
async def elsewhere(stage: "Stage", watch: Watch) -> AsyncIterator[None]:
    """Add to `watch`, at the end of the block, the replicas that run on other machines then. One that began
    meanwhile counts from its beginning.
    """
    before, new = await _figures(stage), _Figures(time.monotonic(), 0.0, 0.0)
    yield
    after = await _figures(stage) if before else {}
    for name, figures in after.items():
        began = before.get(name, new)
        if began and figures:
            watch.processes.append(began.until(figures, name))


async def _figures(stage: "Stage") -> Mapping[str, _Figures | None]:
    """Return the figures of the replicas, by name, as far as they tell them."""
    try:
        services = (await stage.cluster.status())["services"]
    except ClusterError:
        return {}
    pages = {
        f"{service}/{replica['id']}": replica["metrics"]
        for service, about in services.items()
        for replica in about["replicas"]
        if not replica["pid"]
    }
    told = await asyncio.gather(*(asyncio.to_thread(_of_replica, page) for page in pages.values()))
    return dict(zip(pages, told, strict=True))


def _of_replica(page: str) -> _Figures | None:
    """Return the figures of a replica; None if it does not answer, or its kernel does not report them."""
    try:
        told = scrape.values(page, WAITED, STALLS)
    except ClusterError:
        return None
    return _Figures(time.monotonic(), told[WAITED], told[STALLS]) if len(told) == 2 else None
