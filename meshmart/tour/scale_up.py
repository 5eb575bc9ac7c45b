"""A new replica gets its share."""

import asyncio
import time

from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, no_failed_calls
from services.loadgen.report import Report

NAME = "scale-up"
SHOWS = "a third replica of product joins under load and gets its share soon after it is ready"

#: The new replica's share counts as its own from here on: nine tenths of a third.
FAIR = 0.9 / 3
WINDOW = 50


async def play(stage: Stage) -> list[Check]:
    before = {r.id for r in await stage.with_replicas("product", 2)}
    ttl = await stage.cluster.dns_ttl()
    async with stage.browsing() as load:
        await stage.settle(load, 200)
        stage.say("scaling product to 3")
        scaling = asyncio.create_task(stage.scale("product", 3))
        try:
            replicas = await stage.all_ready("product", 3)
            ready = time.monotonic()
            stage.say("the new replica is ready")
            new = {name for r in replicas if r.id not in before for name in (r.address, r.name)}
            shared = await _shared(stage, load.report, new)
        finally:
            await scaling
        await stage.settle(load, 100)
    return [
        Check("from ready to its share", shared - ready, 2 * ttl, " s"),
        no_failed_calls(stage, load),
    ]


async def _shared(stage: Stage, report: Report, new: set[str]) -> float:
    """When the first window of calls began in which the new replica had its share.

    Args:
        new: Its address, and the name by which it calls itself: a plain client knows no address.
    """

    async def look() -> float | None:
        window = report.samples[-WINDOW:]
        answered = sum(s.endpoint in new for s in window)
        return window[0].intended if answered / len(window) >= FAIR else None

    return await stage.until(look, "the new replica has its share", 30)
