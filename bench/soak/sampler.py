"""Samples memory, file descriptors and asyncio tasks of every process of the shop. Linux: it reads /proc."""

import asyncio
import json
import os
from collections import defaultdict
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.processes import read
from bench.soak.slope import Point
from grpcmesh.clock import Clock
from local.errors import ClusterError
from local.state import StateDir, holder
from meshmart.embedded import EmbeddedCluster
from meshmart.scrape import sample as scraped

#: The name of this process, which makes the load and is a client of the mesh for the whole run.
DRIVER = "driver"
#: The processes of the embedded cluster that are no replicas.
SUPERVISOR = "supervisor"
#: The figures of a sample, with the unit of the slope's bound.
FIGURES = {"rss": "MiB", "fds": "", "tasks": ""}


@dataclass(frozen=True)
class Sample:
    """The figures of one process at one time.

    Attributes:
        at: Seconds since the start of the run.
        process: `product/1`, `supervisor` or `driver`.
        rss, pss: The resident and the proportional set in MiB.
        fds: The number of open file descriptors.
        tasks: The number of asyncio tasks; None where it is unknown.
        waited: The seconds for which its main thread has been ready to run without a CPU, since its start.
    """

    at: float
    process: str
    pid: int
    rss: float
    pss: float
    fds: int
    tasks: float | None
    waited: float = 0.0


class Sampler:
    """Samples every few seconds.

    Args:
        cluster: The embedded cluster.
        state_dir: Its state directory.
        every: Seconds between two samples.
        clock: Returns the seconds since the start of the run.
        on_sample: Called with each sample.
    """

    def __init__(
        self,
        cluster: EmbeddedCluster,
        state_dir: Path,
        every: float,
        clock: Clock,
        on_sample: Callable[[Sample], None],
    ) -> None:
        self._cluster, self._state, self._every = cluster, StateDir(state_dir), every
        self._clock, self._on_sample = clock, on_sample

    async def run(self) -> None:
        """Sample until cancelled."""
        while True:
            for found in await self.look():
                self._on_sample(found)
            await asyncio.sleep(self._every)

    async def look(self) -> list[Sample]:
        """Return a sample of each process that runs now."""
        services = (await self._cluster.status())["services"]
        replicas = [
            (f"{name}/{r['id']}", r["pid"], r["metrics"])
            for name, row in services.items()
            for r in row["replicas"]
            if r["pid"]
        ]
        looks = [asyncio.to_thread(self._look, *replica) for replica in replicas]
        own = len(asyncio.all_tasks()) - len(looks)
        looks.append(asyncio.to_thread(self._look, SUPERVISOR, holder(self._state) or 0, ""))
        found = [*await asyncio.gather(*looks), self._read(DRIVER, os.getpid(), own)]
        return [each for each in found if each is not None]

    def _look(self, process: str, pid: int, metrics: str) -> Sample | None:
        tasks = None
        if metrics:
            with suppress(ClusterError):  # it starts, hangs, or has just ended
                tasks = scraped(metrics, "mesh_event_loop_tasks")
        return self._read(process, pid, tasks)

    def _read(self, process: str, pid: int, tasks: float | None) -> Sample | None:
        try:
            memory, fds = read(pid), len(os.listdir(f"/proc/{pid}/fd"))
            waited = int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, KeyError):  # it has ended
            return None
        pss, rss = round(memory.proportional, 2), round(memory.resident, 2)
        return Sample(round(self._clock(), 2), process, pid, rss, pss, fds, tasks, round(waited, 3))


def as_row(sample: Sample) -> dict[str, object]:
    """Return it as a line of the run's file."""
    return {"row": "sample", **asdict(sample)}


def from_rows(lines: Iterable[str]) -> list[Sample]:
    """Return the samples among the lines of the run's file."""
    rows = (json.loads(line) for line in lines)
    return [Sample(**row) for row in rows if row.pop("row") == "sample"]


def lives(samples: Iterable[Sample]) -> dict[tuple[str, int], list[Sample]]:
    """Return the samples of each process, by its name and process id, in the order of time."""
    found: defaultdict[tuple[str, int], list[Sample]] = defaultdict(list)
    for each in samples:
        found[each.process, each.pid].append(each)
    return dict(found)


def points(samples: Iterable[Sample], figure: str) -> list[Point]:
    """Return a figure over time, where it is known."""
    return [(s.at, float(value)) for s in samples if (value := getattr(s, figure)) is not None]
