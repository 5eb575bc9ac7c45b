"""The order service: `python -m services.order.main`."""

import os
import time

from ecommerce.order_pb2_grpc import add_OrderServiceServicer_to_server

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
from services.order.audited_methods import AUDITED
from services.order.clients import PaymentCashier, ProductCatalogue
from services.order.erasure import Erasure
from services.order.orders import Orders
from services.order.outbox_events import ANALYTICS, NOTIFICATIONS, STOCK
from services.order.receivers import BuyersNotifications, ShippedStock, ShopAnalytics
from services.order.saga import Saga
from services.order.servicer import OrderServicer
from services.order.storage import CHANGES, SqlStore
from services.order.tasks import SagaTasks
from services.order.updates import Updates

#: Seconds between two runs of the recovery of orders that a dead replica left.
RECOVERY_INTERVAL = 1.0
#: Seconds between two runs of the erasure of addresses of orders that have been sent since.
ERASURE_INTERVAL = 60.0
#: Seconds between two searches for orders that an older version shipped.
BACKFILL_INTERVAL = 10.0


async def build(app: App) -> None:
    """Build the service."""
    url, tracer = database_url("order", os.environ), app.telemetry.tracer
    db = await app.enter(Database.open(url, "order", tracer=tracer))
    app.telemetry.add(db.metrics)
    app.use_keys(UserKeys(app.channel("user")))
    app.prioritize(PRIORITIES)
    receivers: dict[str, Deliver] = {
        NOTIFICATIONS: BuyersNotifications(app.channel("notification")),
        ANALYTICS: ShopAnalytics(app.channel("analytics")),
        STOCK: ShippedStock(app.channel("product")),
    }
    relay = await app.enter(Relay(SqlQueue(db), receivers, time.time))
    app.telemetry.add(relay)
    store, tasks = SqlStore(db, relay.wake), await app.enter(SagaTasks())
    catalogue, cashier = ProductCatalogue(app.channel("product")), PaymentCashier(app.channel("payment"))
    saga = Saga(store, catalogue, cashier, time.time)
    orders = Orders(store, saga, cashier, tasks.start, time.time)
    updates, erasure = Updates(store, stream_max_age(os.environ)), Erasure(db)
    servicer = audited(OrderServicer(orders, updates, time.time, erasure.erase), AuditLog(db), AUDITED)
    add_OrderServiceServicer_to_server(servicer, app.server)
    await app.enter(following(db, CHANGES, updates, int))
    await app.enter(repeating(orders.recover, RECOVERY_INTERVAL, "recovery of orders"))
    await app.enter(repeating(erasure.go_on, ERASURE_INTERVAL, "erasure of addresses"))
    await app.enter(
        repeating(orders.backfill_events, BACKFILL_INTERVAL, "events of orders that an older version shipped")
    )


if __name__ == "__main__":
    run("order", build)
