"""The load generator as a member of the mesh: `python -m services.loadgen.main`."""

import os

from grpcmesh.runtime import App, run
from services.loadgen.engine import Load
from services.loadgen.journeys import SCENARIOS
from services.loadgen.meter import Meter
from services.loadgen.settings import Settings

#: Journeys in flight at most. Above it arrivals are dropped and counted: the shop, not we, is the bottleneck.
LIMIT = 500
#: Seconds that journeys in flight have when the process leaves.
FINISH = 5.0


async def build(app: App) -> None:
    """Puts the service together."""
    settings = Settings.from_env(os.environ)
    if not settings.rps:
        return
    meter = Meter()
    app.telemetry.add(meter)
    journey = await SCENARIOS[settings.scenario](app.channel)
    load = await app.enter(Load(journey, settings.rps, limit=LIMIT, finish=FINISH, report=meter))
    app.spawn(load.failed(), "load")


if __name__ == "__main__":
    run("loadgen", build)
