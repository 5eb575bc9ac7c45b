"""Three replicas share the load."""

from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, no_failed_calls
from services.loadgen.report import spread

NAME = "balance"
SHOWS = "3 replicas of product share 100 calls a second; each answers a third"

CALLS = 900


async def play(stage: Stage) -> list[Check]:
    replicas = await stage.with_replicas("product", 3)
    async with stage.browsing() as load:
        await stage.settle(load, 200)  # connections and slow start are another scene's subject
        warm = load.report.samples[-1].intended
        stage.say(f"counting {CALLS} calls")
        await stage.settle(load, CALLS)
    counts = load.report.since(warm).counts("product")
    for address, calls in sorted(counts.items()):
        stage.say(f"{address}: {calls} calls")
    return [
        Check("replicas that answered", len(counts), len(replicas), relation="=="),
        Check("largest share over smallest", spread(counts), 1.05),
        no_failed_calls(load),
    ]
