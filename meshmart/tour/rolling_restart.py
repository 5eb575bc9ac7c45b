"""The scene `rolling-restart`: every replica is replaced under load."""

from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.stage import Stage, even_methods, no_failed_calls

NAME = "rolling-restart"
SHOWS = CATALOGUE[NAME]

#: Calls of checkouts after the restart, half of them orders: first until the new replicas are known and warm,
#: then enough to see whether they share the calls.
WARM_UP, AFTER = 40, 80


async def play(stage: Stage) -> list[Check]:
    services = {"product": 3, "order": 2}
    before = {}
    for service, count in services.items():
        before[service] = {r.incarnation for r in await stage.with_replicas(service, count)}
    async with stage.pressing(3) as reading, await stage.buying() as writing:
        await stage.settle(reading, 100)
        for service in services:
            stage.say(f"restarting {service}")
            await stage.cluster.restart(service)
        await stage.settle(reading, 100)
        await stage.settle(writing, WARM_UP)
        warm = writing.report.samples[-1].intended
        await stage.settle(writing, AFTER)
    replaced = 0
    for service, count in services.items():
        now = {r.incarnation for r in await stage.all_ready(service, count)}
        replaced += len(now - before[service])
    return [
        Check("replicas replaced", replaced, sum(services.values()), relation="=="),
        *even_methods(writing.report.since(warm), "order", services["order"], 1.5),
        no_failed_calls(stage, reading, "reads"),
        no_failed_calls(stage, writing, "calls of checkouts"),
    ]
