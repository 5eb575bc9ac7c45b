"""The scene `balance`: three replicas share the load."""

import contextlib

from local.words import plural
from meshmart.cluster import Replica
from meshmart.tour.catalogue import CATALOGUE
from meshmart.tour.check import Check
from meshmart.tour.stage import SceneError, Stage, even_methods, no_failed_calls
from services.loadgen.engine import Load
from services.loadgen.report import spread

NAME = "balance"
SHOWS = CATALOGUE[NAME]

WARM_UP, CALLS = 200, 900


async def play(stage: Stage) -> list[Check]:
    replicas = await stage.with_replicas("product", 3)
    async with stage.reading() as load:
        # DNS, connections and slow start are the subject of another scene.
        await _all_answer(stage, load, replicas)
        await stage.settle(load, WARM_UP)
        warm = load.report.samples[-1].intended
        stage.say(f"counting {CALLS} calls")
        await stage.settle(load, CALLS)
    counted = load.report.since(warm)
    counts = counted.counts("product")
    for address, calls in sorted(counts.items()):
        stage.say(f"{address}: {plural(calls, 'call')}")
    return [
        Check("replicas that answered", len(counts), len(replicas), relation="=="),
        Check("largest share over smallest", spread(counts), 1.05),
        *even_methods(counted, "product", len(replicas), 1.05),
        no_failed_calls(stage, load),
    ]


async def _all_answer(stage: Stage, load: Load, replicas: list[Replica]) -> None:
    """Wait until each replica has had a call. One that has had none after two TTLs is counted with none."""

    async def look() -> bool | None:
        answered = {s.endpoint for s in load.report.samples}
        return True if all({r.address, r.name} & answered for r in replicas) else None

    with contextlib.suppress(SceneError):
        await stage.until(look, "each replica answers", 2 * await stage.cluster.dns_ttl())
