"""The scene `retry-storm`: a service is down, and its callers' retries do not multiply the load on it."""

import asyncio
import contextlib
import math
import time
from collections.abc import AsyncIterator

from grpcmesh.config import RetryConfig
from grpcmesh.fault import Fault
from local.words import plural
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.failures import failures
from meshmart.tour.faulty import faulty, hits, new_callers, until_well
from meshmart.tour.stage import Stage
from services.loadgen.calls import ChannelSource
from services.loadgen.engine import Load
from services.loadgen.journeys import view
from services.loadgen.report import Report

NAME = "retry-storm"
SHOWS = CATALOGUE[NAME]

SERVICE = "product"
#: Reads per second: enough that a share of them is more than the retries that are always allowed.
RPS = 100.0
#: Seconds from the first read to the outage, and to its end. A budget is for ten seconds. The caller is new,
#: so within them its retries are a share of all its reads, whenever the outage begins.
BEFORE, UNTIL = 1.0, 9.0
#: The largest share of retries: the default of the mesh.
BUDGET = RetryConfig().budget_ratio


async def play(stage: Stage) -> list[Check]:
    replicas = await stage.with_replicas(SERVICE, 3)
    await until_well(stage, SERVICE, replicas)
    fault = faulty(stage, SERVICE, replicas, Fault(abort="UNAVAILABLE"))
    async with _caller(stage) as source, contextlib.AsyncExitStack() as outage:
        async with Load(view(source), RPS) as storm:
            await _sleep_until(storm, BEFORE)
            await outage.enter_async_context(fault)
            down = time.monotonic()
            stage.say(f"all {len(replicas)} replicas of {SERVICE} fail every call")
            await _sleep_until(storm, UNTIL)
        failed = sum([await hits(stage, SERVICE, replica) for replica in replicas])
        async with Load(view(source), RPS) as after:
            await stage.settle(after, round(RPS / 2))
            await outage.aclose()
            well = time.monotonic()
            stage.say(f"they failed {plural(failed, 'attempt')}; now they are well")
            await stage.settle(after, round(2 * RPS))
    return [*_storm(storm.report, down), _end(stage, after.report, well)]


def _storm(report: Report, down: float) -> list[Check]:
    """Return the checks of a storm.

    Args:
        report: The calls from before the outage until its end.
        down: The start of the outage, in monotonic seconds.
    """
    calls, retries = len(report.samples), sum(s.attempts - 1 for s in report.samples)
    failed = sum(s.code != "OK" for s in report.samples if s.intended >= down)
    share = 100 * retries / max(1, calls)
    return [
        # Without failures and retries there was no outage, or nobody who retries.
        Check("reads that failed meanwhile", failed, 1, relation=">="),
        Check("retries", retries, 1, relation=">="),
        Check(f"extra load of {share:.1f} %: retries of {calls} reads", retries, math.ceil(BUDGET * calls)),
    ]


def _end(stage: Stage, report: Report, well: float) -> Check:
    """Return the check that calls succeed soon after `well` (monotonic seconds)."""
    late = [s.intended - well for s in report.samples if s.code != "OK" and s.intended > well]
    details = failures(report.since(well), stage.names)
    return Check("until no read fails any more", max(late, default=0.0), 1.0, " s", details=details)


@contextlib.asynccontextmanager
async def _caller(stage: Stage) -> AsyncIterator[ChannelSource]:
    """Yield the channels of a caller that has made no calls yet; with `--plain` those of the stage."""
    if not stage.careful:
        yield stage.channels
        return
    async with new_callers(stage, 1) as (member,):
        yield member.channel


async def _sleep_until(load: Load, seconds: float) -> None:
    """Wait until `seconds` after the start of the load."""
    await asyncio.sleep(max(0.0, load.report.started + seconds - time.monotonic()))
