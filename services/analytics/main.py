"""The analytics service: `python -m services.analytics.main`."""

import os
import time

from ecommerce.analytics_pb2_grpc import add_AnalyticsServiceServicer_to_server

from grpcmesh.runtime import App, run
from services.analytics.figures import Figures
from services.analytics.servicer import AnalyticsServicer
from services.analytics.storage import CHANNEL, SqlStore
from services.kit.background import repeating
from services.kit.db import Database, database_url
from services.kit.follow import stream_max_age
from services.kit.following import following
from services.kit.priorities import PRIORITIES
from services.kit.tokens import UserKeys

#: Seconds between two deletions of old figures.
FORGET_INTERVAL = 3600.0


async def build(app: App) -> None:
    """Build the service."""
    url, tracer = database_url("analytics", os.environ), app.telemetry.tracer
    db = await app.enter(Database.open(url, "analytics", tracer=tracer))
    app.telemetry.add(db.metrics)
    app.use_keys(UserKeys(app.channel("user")))
    app.prioritize(PRIORITIES)
    figures = Figures(SqlStore(db), time.time, stream_max_age(os.environ))
    add_AnalyticsServiceServicer_to_server(AnalyticsServicer(figures, time.time), app.server)
    await app.enter(following(db, CHANNEL, figures, str))
    await app.enter(repeating(figures.forget, FORGET_INTERVAL, "forgetting of figures"))


if __name__ == "__main__":
    run("analytics", build)
