"""The scene `slow-dependency`: a service hangs, and no checkout waits for it.

With MESHMART_TOUR_HANG=payment, for comparison, a service hangs that a checkout needs.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

from local.errors import ClusterError
from meshmart.cluster import Replica
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.faulty import until_well
from meshmart.tour.ordering import ordering
from meshmart.tour.stage import Stage, no_failed_calls
from services.loadgen.engine import Load
from services.loadgen.steps import CHECKOUT_TIMEOUT

NAME = "slow-dependency"
SHOWS = CATALOGUE[NAME]

_HANG = "MESHMART_TOUR_HANG"
RPS = 5.0
#: The number of checkouts while it hangs.
ORDERS = 40


async def play(stage: Stage) -> list[Check]:
    service = os.environ.get(_HANG, "notification")
    await until_well(stage, service, await stage.replicas(service))
    load = Load(ordering(stage), RPS)
    async with _hanging(stage, service), load:
        await stage.settle(load, ORDERS, timeout=90)
    stage.say(f"{service} goes on")
    verdict, _ = await stage.audit(60.0)
    lost = [s.left_value - s.right_value for s in verdict.sums if s.section == "notifications"]
    return [
        no_failed_calls(stage, load, "orders"),
        Check("checkout p99", load.report.latency(0.99), CHECKOUT_TIMEOUT, " s"),
        Check("notifications lost", sum(lost), 0, relation="=="),
        Check(
            "left waiting after it went on",
            len(verdict.unfinished),
            0,
            relation="==",
            details=tuple(verdict.unfinished),
        ),
    ]


@contextlib.asynccontextmanager
async def _hanging(stage: Stage, service: str) -> AsyncIterator[None]:
    """Make every replica of the service hang until the end of the block."""
    replicas = await stage.replicas(service)
    try:
        for replica in replicas:
            stage.say(f"{service}/{replica.id} hangs")
            await stage.cluster.pause(service, replica.id)
        yield
    finally:
        await asyncio.gather(*(_resume(stage, service, replica) for replica in replicas))


async def _resume(stage: Stage, service: str, replica: Replica) -> None:
    """End the hang of a replica. One that has gone, or cannot be reached, keeps no other one hanging."""
    try:
        await stage.cluster.resume(service, replica.id)
    except ClusterError as e:
        stage.say(f"{service}/{replica.id} could not be resumed, and goes on when its lease ends: {e}")
