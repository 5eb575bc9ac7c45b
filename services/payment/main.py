"""The payment service: `python -m services.payment.main`."""

import os
import time

from ecommerce.payment_pb2_grpc import add_PaymentServiceServicer_to_server

from grpcmesh.runtime import App, run
from services.kit.audit import AuditLog, audited
from services.kit.background import repeating
from services.kit.db import Database, database_url
from services.kit.follow import stream_max_age
from services.kit.following import following
from services.kit.outbox import SqlQueue
from services.kit.priorities import PRIORITIES
from services.kit.relay import Deliver, Relay
from services.kit.tokens import UserKeys
from services.payment.acquirer import SimulatedAcquirer
from services.payment.audited_methods import AUDITED
from services.payment.batches import Batches
from services.payment.feed import Feed
from services.payment.outbox_events import ORDERS
from services.payment.payments import Payments
from services.payment.receivers import RefundedOrders
from services.payment.servicer import PaymentServicer
from services.payment.storage import CHANNEL, SqlStore

#: Seconds between two sweeps for payments that a dead replica left.
SWEEP_INTERVAL = 10.0


async def build(app: App) -> None:
    """Build the service."""
    url, tracer = database_url("payment", os.environ), app.telemetry.tracer
    db = await app.enter(Database.open(url, "payment", tracer=tracer))
    app.telemetry.add(db.metrics)
    app.use_keys(UserKeys(app.channel("user")))
    app.prioritize(PRIORITIES)
    receivers: dict[str, Deliver] = {ORDERS: RefundedOrders(app.channel("order"))}
    relay = await app.enter(Relay(SqlQueue(db), receivers, time.time))
    app.telemetry.add(relay)
    store, acquirer = SqlStore(db, relay.wake), SimulatedAcquirer(db, time.time)
    payments, batches = Payments(store, acquirer, time.time), Batches(store, acquirer, time.time)
    feed = Feed(store, stream_max_age(os.environ))
    servicer = audited(PaymentServicer(payments, batches, feed, time.time), AuditLog(db), AUDITED)
    add_PaymentServiceServicer_to_server(servicer, app.server)
    await app.enter(following(db, CHANNEL, feed, str))
    await app.enter(repeating(payments.sweep, SWEEP_INTERVAL, "sweep of payments"))
    await app.enter(repeating(batches.sweep, SWEEP_INTERVAL, "sweep of batches"))


if __name__ == "__main__":
    run("payment", build)
