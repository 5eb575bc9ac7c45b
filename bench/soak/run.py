"""One run: load and disturbances together, sampled into a file, and judged at the end."""

import asyncio
import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

from bench.soak import injector, sampler
from bench.soak.injector import Injector, Occurrence
from bench.soak.journeys import Failed, Log, Traffic, since
from bench.soak.sampler import DRIVER, SUPERVISOR, Sample, Sampler
from bench.soak.schedule import SPARED, Disturbance, schedule
from bench.soak.verdict import (
    JUDGED_FROM,
    Verdict,
    around,
    judge_journeys,
    judge_slopes,
    judge_starvation,
    starved_spells,
)
from bench.soak.world import SERVICE_CONFIG, World
from grpcmesh.config import ServiceConfigConfig
from meshmart.audit import audited
from meshmart.chaos import OrderRun
from meshmart.embedded import EmbeddedCluster
from meshmart.operator import Joined, join

#: Seconds that the books may take to settle at the end.
SETTLE = 120.0
#: Seconds between two lines of progress.
TELL_EVERY = 60.0


@dataclass(frozen=True)
class Plan:
    """The settings of a run. Times in seconds, the rate in arrivals per second."""

    duration: float
    seed: int
    rate: float
    every: float
    sample_every: float

    @property
    def warm(self) -> float:
        """Return the length of the warm-up: a quarter of the run, at most a quarter of an hour."""
        return min(self.duration / 4, 900.0)


class Run:
    """A run on a running shop.

    Args:
        world: The shop.
        plan: The settings.
        rows: Receives a line of JSON for each sample, disturbance and failed journey. The samples are
            read from it again at the end: this process's memory is measured, too, and does not keep them.
        say: Called with each line of progress.
    """

    def __init__(self, world: World, plan: Plan, rows: TextIO, say: Callable[[str], None]) -> None:
        self._world, self.plan, self._rows, self._say = world, plan, rows, say
        self._clock = since(time.monotonic())
        self.samples: list[Sample] = []
        """All samples, at the end."""
        self.occurrences: list[Occurrence] = []
        self.log = Log(self._clock, on_failed=self._failed)
        self.wanted: list[str] = []
        """The processes that no disturbance ends."""
        self.verdict = Verdict()
        self.books: Mapping[str, Any] = {}
        """What the audit found at the end."""

    async def __call__(self) -> Verdict:
        """Run, and return the verdict."""
        rng = random.Random(self.plan.seed)
        async with AsyncExitStack() as stack:
            cluster = await stack.enter_async_context(EmbeddedCluster(self._world.state_dir))
            config = ServiceConfigConfig(inline=SERVICE_CONFIG)
            joined = await stack.enter_async_context(join(self._world.state_dir, service_config=config))
            services = (await cluster.status())["services"]
            replicas = {name: len(row["replicas"]) for name, row in services.items() if row["replicas"]}
            self.wanted = [*(f"{name}/{SPARED}" for name in replicas), SUPERVISOR, DRIVER]
            self._clock = self.log.clock = since(time.monotonic())
            disturbances = schedule(self.plan.seed, self.plan.duration, self.plan.every, replicas)
            self._say(f"{len(disturbances)} disturbances: {_counted(d.kind for d in disturbances)}")
            traffic = await self._disturb(cluster, joined, disturbances, rng)
        await self._judge(traffic)
        return self.verdict

    async def _disturb(
        self, cluster: EmbeddedCluster, joined: Joined, disturbances: list[Disturbance], rng: random.Random
    ) -> Traffic:
        """Perform the schedule under load. Return the load, with the orders that it placed."""
        channels = joined.member.channel
        url = (await cluster.status())["storefront"]
        traffic = Traffic(channels, url, self.plan.rate, random.Random(rng.random()), self.log)
        looks = Sampler(cluster, self._world.state_dir, self.plan.sample_every, self._clock, self._sampled)
        self._injector = Injector(cluster, joined.member, self._world.database, self._clock, self._over)
        async with asyncio.TaskGroup() as group:
            beside = [group.create_task(looks.run()), group.create_task(self._tell())]
            async with traffic:
                await self._injector.run(disturbances)
                await asyncio.sleep(self.plan.duration - self._clock())
            for task in beside:
                task.cancel()
        return traffic

    async def _judge(self, traffic: Traffic) -> None:
        verdict, plan = self.verdict, self.plan
        self._rows.seek(0)
        self.samples = sampler.from_rows(self._rows)
        self._rows.seek(0, os.SEEK_END)
        spells = starved_spells(self.samples)
        judge_journeys(verdict, self.log.failed, [*self.occurrences, *spells])
        judge_starvation(verdict, spells, plan.duration)
        judge_slopes(verdict, self.samples, plan.warm, self.wanted, plan.duration >= JUDGED_FROM)
        verdict.problems += [f"{p.disturbance}: {p.problem}" for p in self.occurrences if p.problem]
        state = self._world.state_dir
        books, found = await audited(state / "data", self._world.environ, SETTLE)
        self.books = books.as_dict()
        orders = OrderRun(len(traffic.asked), list(traffic.asked.values()))
        verdict.problems += [f"order astray: {line}" for line in orders.astray(found)]
        verdict.problems += [f"books: {line}" for line in (*books.problems, *books.unfinished)]
        if not books.balanced:
            verdict.problems.append("the books do not add up")

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(TELL_EVERY)
            asked, failed = self.log.asked.total(), len(self.log.failed)
            over = f"{len(self.occurrences)} disturbances"
            self._say(f"{self._clock():5.0f} s: {asked} journeys, {failed} failed, {over}")

    # What happens, as it happens

    def _sampled(self, sample: Sample) -> None:
        self._write(sampler.as_row(sample))

    def _over(self, occurrence: Occurrence) -> None:
        self.occurrences.append(occurrence)
        self._write(injector.as_row(occurrence))
        if occurrence.problem:
            self._say(f"{self._clock():5.0f} s: {occurrence.disturbance}: {occurrence.problem}")

    def _failed(self, failed: Failed) -> None:
        present = [str(disturbance) for disturbance in self._injector.present]
        recent = [str(p.disturbance) for p in around(failed, self.occurrences)]
        self._write({"row": "failed", **asdict(failed), "disturbances": present, "before": recent})
        beside = "; ".join([*present, *(f"after {name}" for name in recent)]) or "no disturbance"
        self._say(f"{failed.began:5.0f} s: {failed.scenario}: {', '.join(failed.calls)} ({beside})")

    def _write(self, row: Mapping[str, Any]) -> None:
        self._rows.write(json.dumps(row) + "\n")
        self._rows.flush()


def _counted(kinds: Any) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in Counter(kinds).most_common())


def out_files(out: Path) -> dict[str, Path]:
    """Return the files of a run's directory by what they hold."""
    return {
        name: out / f"soak.{suffix}"
        for name, suffix in (("rows", "jsonl"), ("plot", "svg"), ("summary", "json"))
    }
