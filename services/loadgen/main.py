"""The load generator as a member of the mesh: `python -m services.loadgen.main`."""

import os

from grpcmesh.runtime import App, run
from services.loadgen.engine import Load
from services.loadgen.journeys import SCENARIOS
from services.loadgen.meter import Meter
from services.loadgen.settings import Settings

#: The most journeys in flight. Arrivals above it are dropped and counted: then the shop is the bottleneck.
LIMIT = 500
#: Seconds that journeys in flight may take when the process drains.
FINISH = 5.0


async def build(app: App) -> None:
    """Build the service."""
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
