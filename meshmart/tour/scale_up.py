"""The scene `scale-up`: a new replica gets its share."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence

from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, no_failed_calls
from services.loadgen.report import Report, Sample

NAME = "scale-up"
SHOWS = CATALOGUE[NAME]

#: The share from which the new replica counts as having its share: nine tenths of a third.
FAIR = 0.9 / 3
#: The number of last calls that are evaluated: twenty of each method.
WINDOW = 60


async def play(stage: Stage) -> list[Check]:
    before = {r.id for r in await stage.with_replicas("product", 2)}
    ttl = await stage.cluster.dns_ttl()
    async with stage.reading() as load:
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
    """Return when the first window of calls began in which the new replica had its share of every method.

    Args:
        stage: The stage.
        report: The report of the load.
        new: The replica's address, and its own name: a plain client knows no address.
    """

    async def look() -> float | None:
        window = report.samples[-WINDOW:]
        return window[0].intended if share_of(new, window) >= FAIR else None

    return await stage.until(look, "the new replica has its share", 30)


def share_of(replica: set[str], calls: Sequence[Sample]) -> float:
    """Return a replica's share of that method of which it has least. `replica` holds its names."""
    of_all = Counter(s.method for s in calls)
    answered = Counter(s.method for s in calls if s.endpoint in replica)
    return min(answered[method] / n for method, n in of_all.items())
