"""The chat service: `python -m services.chat.main`."""

import os
import time

from ecommerce.chat_pb2_grpc import add_ChatServiceServicer_to_server

from grpcmesh.runtime import App, run
from services.chat.presence import TURN, Presence, leaving
from services.chat.rooms import Rooms
from services.chat.servicer import ChatServicer
from services.chat.storage import SqlAttendance, SqlStore
from services.kit.background import repeating
from services.kit.db import Database, database_url
from services.kit.follow import stream_max_age
from services.kit.following import following
from services.kit.priorities import PRIORITIES
from services.kit.retention import INTERVAL, kept_for
from services.kit.tokens import UserKeys


async def build(app: App) -> None:
    """Build the service."""
    url, tracer = database_url("chat", os.environ), app.telemetry.tracer
    db = await app.enter(Database.open(url, "chat", tracer=tracer))
    app.telemetry.add(db.metrics)
    app.use_keys(UserKeys(app.channel("user")))
    app.prioritize(PRIORITIES)
    rooms = Rooms(SqlStore(db), time.time, stream_max_age(os.environ))
    presence = Presence(SqlAttendance(db), time.time)
    add_ChatServiceServicer_to_server(ChatServicer(rooms, presence), app.server)
    await app.enter(following(db, "rooms", rooms, str))
    await app.enter(leaving(presence))
    kept = kept_for(os.environ)
    await app.enter(repeating(lambda: rooms.forget(kept), INTERVAL, "forgetting of messages"))
    await app.enter(repeating(presence.keep, TURN, "presence"))


if __name__ == "__main__":
    run("chat", build)
