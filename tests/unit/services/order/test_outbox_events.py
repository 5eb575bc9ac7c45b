"""What others are told of an order, in the transaction of each change."""

from collections.abc import Sequence

import pytest

from grpcmesh.errors import FailedPrecondition, Unavailable
from services.kit.actor import Actor
from services.kit.outbox import SqlQueue
from services.kit.relay import OutboxEvent
from services.order.domain import Buyer, Line, Order, Status
from services.order.failures import Superseded
from services.order.outbox_events import ANALYTICS, NOTIFICATIONS
from services.order.receivers import _requests
from services.order.storage import SqlStore

from .conftest import NOW, Shop

ADMIN, BOB = Actor(1, frozenset({"admin"})), Actor(2, frozenset({"user"}))


async def _told(shop: Shop, topic: str) -> list[OutboxEvent]:
    """What waits in the outbox."""
    lines: Sequence[Sequence[OutboxEvent]] = await SqlQueue(shop.db).take(topic, NOW + 1000, NOW, 100)
    return [event for line in lines for event in line]


async def _counted(shop: Shop) -> list[tuple[str, int, int, int]]:
    """Kind, product, quantity and cents of what the analytics are told."""
    counted = [entry for event in await _told(shop, ANALYTICS) for entry in event.payload["events"]]
    return [(e["kind"], e.get("product_id", 0), e.get("quantity", 0), e["cents"]) for e in counted]


async def _placed(shop: Shop) -> Order:
    return await shop.replica().place(shop.draft(), Buyer())


async def test_a_confirmed_order_is_told_once_to_each(shop: Shop) -> None:
    order = await _placed(shop)
    (event,) = await _told(shop, NOTIFICATIONS)
    assert (event.key, event.event_id) == (f"order-{order.id}", f"order-{order.id}-{order.version}")
    assert (event.payload["user_id"], event.payload["title"]) == (2, f"Order {order.id} is confirmed")
    assert "24.99" in event.payload["body"]
    assert await _counted(shop) == [
        ("ORDER_PLACED", 1, 2, 500),
        ("ORDER_PLACED", 2, 1, 1999),
        ("PAYMENT_MADE", 0, 0, 2499),
    ]


async def test_what_is_counted_has_names_of_its_own_that_last(shop: Shop) -> None:
    order = await _placed(shop)
    (event,) = await _told(shop, ANALYTICS)
    requests = list(_requests(event))
    assert [r.event_id for r in requests] == [f"{event.event_id}-{end}" for end in ("0", "1", "payment")]
    assert {(r.user_id, r.order_id, r.timestamp.seconds) for r in requests} == {(2, order.id, int(NOW))}
    assert [r.amount for r in requests] == [5.0, 19.99, 24.99]


async def test_every_status_is_told_in_order(shop: Shop) -> None:
    order = await _placed(shop)
    for status in (Status.SHIPPED, Status.DELIVERED, Status.REFUNDED):
        await shop.replica().set_status(ADMIN, order.id, status)
    titles = [event.payload["title"] for event in await _told(shop, NOTIFICATIONS)]
    assert titles == [
        f"Order {order.id} is {status}" for status in ("confirmed", "shipped", "delivered", "refunded")
    ]
    assert (await _counted(shop))[-1] == ("PAYMENT_REFUNDED", 0, 0, 2499)


async def test_a_cancelled_order_is_told_with_what_is_given_back(shop: Shop) -> None:
    order = await _placed(shop)
    await shop.replica().set_status(BOB, order.id, Status.CANCELLED)
    assert "24.99 back" in (await _told(shop, NOTIFICATIONS))[-1].payload["body"]
    assert (await _counted(shop))[3:] == [("ORDER_CANCELLED", 0, 0, 2499), ("PAYMENT_REFUNDED", 0, 0, 2499)]


async def test_an_order_that_came_to_nothing_is_told_to_the_buyer_and_not_counted(shop: Shop) -> None:
    with pytest.raises(FailedPrecondition):
        await shop.replica().place(shop.draft(Line(1, 11)), Buyer())
    (event,) = await _told(shop, NOTIFICATIONS)
    assert event.payload["title"].endswith("is cancelled")
    assert "out of stock" in event.payload["body"]
    assert await _counted(shop) == []


async def test_a_free_order_is_placed_without_a_payment(shop: Shop) -> None:
    order = await shop.replica().place(shop.draft(Line(3, 1)), Buyer())
    assert await _counted(shop) == [("ORDER_PLACED", 3, 1, 0)]
    await shop.replica().set_status(BOB, order.id, Status.CANCELLED)
    assert (await _counted(shop))[1:] == [("ORDER_CANCELLED", 0, 0, 0)]


async def test_nothing_is_told_of_a_change_that_was_superseded(shop: Shop) -> None:
    order = await _placed(shop)
    await shop.store.save(order.moved(Status.SHIPPED), "shipped")
    before = await _told(shop, NOTIFICATIONS)
    with pytest.raises(Superseded):
        await shop.store.save(order.moved(Status.SHIPPED), "shipped")
    assert len(await _told(shop, NOTIFICATIONS)) == len(before)


async def test_the_relay_is_woken_after_the_commit_and_only_with_news(shop: Shop) -> None:
    woken = list[int]()
    store = SqlStore(shop.db, lambda: woken.append(1))
    order, _ = await store.create(shop.draft())
    order = await store.save(order.leased(NOW))
    assert woken == []
    order = await store.save(order.priced((Line(1, 2, "a", 5),)).confirmed(1), "confirmed")
    assert woken == [1]


async def test_an_order_that_a_service_was_away_for_is_told_why(shop: Shop) -> None:
    shop.trouble.at["before reserve"] = Unavailable("away")
    with pytest.raises(Unavailable):
        await _placed(shop)
    (event,) = await _told(shop, NOTIFICATIONS)
    assert event.payload["body"].startswith("away")
