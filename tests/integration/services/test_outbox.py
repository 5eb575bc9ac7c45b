"""From an order's transaction to the notification and analytics services, over real mutual TLS."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from ecommerce import notification_pb2
from ecommerce.analytics_pb2 import DashboardRequest
from ecommerce.analytics_pb2_grpc import AnalyticsServiceStub, add_AnalyticsServiceServicer_to_server
from ecommerce.notification_pb2_grpc import add_NotificationServiceServicer_to_server

from grpcmesh.server.server import MeshServer
from services.analytics.figures import Figures
from services.analytics.servicer import AnalyticsServicer
from services.analytics.storage import SqlStore as AnalyticsStore
from services.kit import outbox, relay
from services.kit.db import Database
from services.kit.outbox import SqlQueue
from services.kit.relay import OutboxEvent, Relay
from services.notification.inbox import Inbox
from services.notification.mail import Mail
from services.notification.mail_storage import SqlMail
from services.notification.servicer import NotificationServicer
from services.notification.storage import SqlStore as NotificationStore
from services.order.domain import Address, Line, Order, Status
from services.order.outbox_events import ANALYTICS, NOTIFICATIONS
from services.order.receivers import BuyersNotifications, ShopAnalytics
from services.order.storage import SqlStore as OrderStore
from tests.databases import Databases, Maker

from .replicakit import Fleet, eventually, fleet


class Hanging(NotificationServicer):
    """Hangs on demand, as a stopped process does, and may lose its answer after the work is done."""

    def __init__(self, inbox: Inbox, mail: Mail) -> None:
        super().__init__(inbox, mail)
        self.open = asyncio.Event()
        self.open.set()
        self.lost_answers = 0
        self.calls = 0

    async def SendNotification(
        self, request: notification_pb2.NotificationRequest, context: Any
    ) -> notification_pb2.NotificationResponse:
        self.calls += 1
        await self.open.wait()
        response = await super().SendNotification(request, context)
        if self.lost_answers:
            self.lost_answers -= 1
            await asyncio.Event().wait()
        return response


class Shop:
    """Orders' storage with two replicas' relays, and those who are told."""

    def __init__(self, stores: list[OrderStore], order_db: Database, notes: Database) -> None:
        self.stores, self.order_db = stores, order_db
        self.told = NotificationStore(notes)
        self.notification: list[Hanging] = []
        self.analytics: Fleet

    async def order(self, number: int = 0) -> Order:
        """Placed, paid and confirmed at one of the replicas."""
        store, now = self.stores[number % 2], time.time()
        lines = (Line(1, 2), Line(2, 1))
        order, _ = await store.create(Order(0, 2, lines, Address(), None, True, now, now, now))
        priced = order.priced((Line(1, 2, "a", 250), Line(2, 1, "b", 1999)))
        order = await store.save(priced, "stock is reserved", prices=True)
        return await store.save(order.confirmed(1), "paid and confirmed")

    async def titles(self) -> list[str]:
        """What the buyer was told, oldest first."""
        return [n.title for n in await self.told.since(2, 0, 1000)]

    async def waiting(self, topic: str) -> int:
        """How many events of a topic wait."""
        found = (await SqlQueue(self.order_db).waiting([topic])).get(topic)
        return found.count if found else 0

    async def delivered(self, topic: str) -> None:
        """Waits until none is left."""

        async def empty() -> bool:
            return not await self.waiting(topic)

        await eventually(empty, within=40)


@asynccontextmanager
async def _shop(directory: Path, databases: Databases) -> AsyncIterator[Shop]:
    async with AsyncExitStack() as stack:

        async def opened(service: str) -> Database:
            return await stack.enter_async_context(Database.open(databases.url(service), service))

        notes, figures = await opened("notification"), await opened("analytics")
        dbs = [await opened("order") for _ in "ab"]
        shop = Shop([], dbs[0], notes)

        async def notification(_: AsyncExitStack, server: MeshServer) -> None:
            servicer = Hanging(Inbox(NotificationStore(notes), time.time), Mail(SqlMail(notes), time.time))
            shop.notification.append(servicer)
            add_NotificationServiceServicer_to_server(servicer, server)

        async def analytics(_: AsyncExitStack, server: MeshServer) -> None:
            servicer = AnalyticsServicer(Figures(AnalyticsStore(figures), time.time), time.time)
            add_AnalyticsServiceServicer_to_server(servicer, server)

        letters = await stack.enter_async_context(fleet("notification", directory / "n", notification))
        shop.analytics = await stack.enter_async_context(fleet("analytics", directory / "a", analytics))
        for db in dbs:
            receivers: dict[str, Callable[[OutboxEvent], Any]] = {
                NOTIFICATIONS: BuyersNotifications(letters.channel(workload="order")),
                ANALYTICS: ShopAnalytics(shop.analytics.channel(workload="order")),
            }
            running = await stack.enter_async_context(Relay(SqlQueue(db), receivers, time.time))
            shop.stores.append(OrderStore(db, running.wake))
        yield shop


@pytest.fixture
async def shop(tmp_path: Path, new_databases: Maker) -> AsyncIterator[Shop]:
    async with _shop(tmp_path, new_databases("order", "notification", "analytics")) as shop:
        yield shop


async def test_what_happens_to_orders_reaches_the_buyer_in_order_and_the_figures(shop: Shop) -> None:
    orders = [await shop.order(n) for n in range(10)]
    for order in orders:
        shipped = await shop.stores[order.id % 2].save(order.moved(Status.SHIPPED), "shipped")
        await shop.stores[(order.id + 1) % 2].save(shipped.moved(Status.DELIVERED), "delivered")
    await shop.delivered(NOTIFICATIONS)
    await shop.delivered(ANALYTICS)
    titles = await shop.titles()
    assert len(titles) == len(set(titles)) == 30
    for order in orders:
        of_order = [title for title in titles if title.startswith(f"Order {order.id} ")]
        assert [title.rsplit(maxsplit=1)[1] for title in of_order] == ["confirmed", "shipped", "delivered"]
    admin = shop.analytics.token(1, "alice", "user", "admin")
    stub = AnalyticsServiceStub(shop.analytics.channel())
    dashboard = await stub.GetDashboard(DashboardRequest(), metadata=admin)
    assert (dashboard.orders, dashboard.revenue) == (10, 249.9)
    assert {(p.product_id, p.quantity) for p in dashboard.top_products} == {(1, 20), (2, 10)}


async def test_a_notification_service_that_hangs_delays_neither_orders_nor_figures(shop: Shop) -> None:
    for servicer in shop.notification:
        servicer.open.clear()
    began = time.monotonic()
    for n in range(10):
        await shop.order(n)
    assert time.monotonic() - began < 20  # a single wait for it would be 4 s
    await shop.delivered(ANALYTICS)
    assert await shop.waiting(NOTIFICATIONS) == 10
    for servicer in shop.notification:
        servicer.open.set()
    await shop.delivered(NOTIFICATIONS)
    assert set(Counter(await shop.titles()).values()) == {1}
    assert len(await shop.titles()) == 10


async def test_an_event_that_is_wrong_is_set_aside_and_what_follows_it_is_told(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "PATIENCE", 2)
    rows = [
        outbox.row(
            NOTIFICATIONS,
            "order-1",
            f"order-1-{version}",
            {"user_id": user_id, "title": str(version), "body": ""},
            time.time(),
        )
        for version, user_id in ((2, -1), (3, 2))
    ]
    await shop.order_db.write(lambda connection: outbox.add_all(connection, rows))
    await shop.delivered(NOTIFICATIONS)
    (dead,) = await outbox.dead_letters(shop.order_db)
    assert (dead.event_id, dead.refused) == ("order-1-2", "INVALID_ARGUMENT: user_id: must be positive")
    assert await shop.titles() == ["3"]


async def test_an_answer_that_is_lost_is_asked_for_again_and_the_buyer_told_once(shop: Shop) -> None:
    for servicer in shop.notification:
        servicer.lost_answers = 1
    order = await shop.order()
    await shop.delivered(NOTIFICATIONS)
    assert sum(servicer.calls for servicer in shop.notification) > 1
    assert await shop.titles() == [f"Order {order.id} is confirmed"]
