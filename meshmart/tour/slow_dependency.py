"""A service that hangs, and that no checkout waits for.

Switched off: MESHMART_TOUR_HANG=payment hangs a service that is in the way of the checkout.
"""

import contextlib
import os
from collections.abc import AsyncIterator

from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, no_failed_calls
from services.loadgen.report import Report
from services.loadgen.steps import CHECKOUT_TIMEOUT

NAME = "slow-dependency"
SHOWS = "the notification service hangs; orders go through, and their notifications come later"

_HANG = "MESHMART_TOUR_HANG"
#: Calls of checkouts while it hangs, two an order.
CALLS = 80


async def play(stage: Stage) -> list[Check]:
    service = os.environ.get(_HANG, "notification")
    async with _hanging(stage, service), await stage.buying() as load:
        await stage.settle(load, CALLS, timeout=90)
    stage.say(f"{service} goes on")
    verdict, _ = await stage.audit(60.0)
    missing = [s.left_value - s.right_value for s in verdict.sums if s.section == "notifications"]
    waiting = len(verdict.unfinished)
    return [
        no_failed_calls(load, "calls of checkouts"),
        Check("checkout p99", _checkouts(load.report).latency(0.99), CHECKOUT_TIMEOUT, " s"),
        Check("notifications lost", sum(missing), 0, relation="=="),
        Check("left waiting after it went on", waiting, 0, relation="=="),
    ]


@contextlib.asynccontextmanager
async def _hanging(stage: Stage, service: str) -> AsyncIterator[None]:
    """Every replica of the service hangs until the end of the block."""
    replicas = await stage.cluster.endpoints(service)
    try:
        for replica in replicas:
            stage.say(f"{service}/{replica.id} hangs (SIGSTOP)")
            await stage.cluster.pause(service, replica.id)
        yield
    finally:
        for replica in replicas:
            await stage.cluster.resume(service, replica.id)


def _checkouts(report: Report) -> Report:
    return Report([s for s in report.samples if s.method == "CreateOrder"])
