"""The scene `kill`: kill -9 of a replica under load."""

import time

from meshmart.cluster import Replica
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, no_failed_calls
from services.loadgen.engine import Load
from services.loadgen.report import Report

NAME = "kill"
SHOWS = CATALOGUE[NAME]


async def play(stage: Stage) -> list[Check]:
    replicas = await stage.with_replicas("product", 3)
    async with stage.pressing() as load:
        await stage.settle(load, 1000)
        longest = 0.0
        for victim in replicas:
            longest = max(longest, await _kill(stage, victim, load))
            await stage.all_ready("product", 3)
            if retried := sum(s.attempts > 1 for s in load.report.samples):
                break
            stage.say("nobody was being served there: once more")
    return [
        no_failed_calls(stage, load, "reads"),
        # Without one the kill disturbed no call, and the figure above would prove nothing.
        Check("calls retried on another replica", retried, 1, relation=">="),
        Check("until no call is disturbed any more", longest, 1.0, " s"),
    ]


async def _kill(stage: Stage, victim: Replica, load: Load) -> float:
    """Kill a replica. Return for how many seconds calls that started later were disturbed."""
    stage.say(f"kill -9 of product/{victim.id} at {victim.address}")
    asked = time.monotonic()
    await stage.cluster.kill("product", victim.id)
    await stage.settle(load, 1000)
    return disturbance(load.report, asked)


def disturbance(report: Report, asked: float) -> float:
    """Return the seconds from the first to the last start of a call after `asked` that failed or was retried.

    They are not counted from `asked`: a cluster may take seconds to find and kill the process. The first
    disturbed call was in flight when the process died, so it tells when that was.
    """
    starts = [s.intended for s in report.samples if s.intended > asked and (s.code != "OK" or s.attempts > 1)]
    return max(starts) - min(starts) if starts else 0.0
