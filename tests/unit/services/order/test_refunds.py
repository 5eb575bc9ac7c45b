"""What refunds of its payment make of an order, whenever and however often it is told of them."""

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpcmesh.errors import FailedPrecondition, InvalidArgument, MeshError, NotFound, Unavailable
from services.kit.actor import Actor
from services.kit.db import Database
from services.kit.migrate import migrate
from services.kit.outbox import SqlQueue
from services.kit.paging import Page
from services.kit.relay import OutboxEvent
from services.order.domain import Buyer, Line, Order, Status, Step
from services.order.orders import Orders
from services.order.outbox_events import ANALYTICS, NOTIFICATIONS, STOCK
from services.order.saga import Saga
from services.order.storage import SqlStore
from tests.databases import Maker

from .conftest import NOW, Crash, Shop, unknown

ADMIN, BOB = Actor(1, frozenset({"admin"})), Actor(2, frozenset({"user"}))
#: Of the draft order: 2 of product 1 at 2.50, 1 of product 2 at 19.99.
TOTAL = 2499


@pytest.fixture
def shop(shop: Shop) -> Shop:
    """Time runs: of two that change an order, one waits for the other."""
    shop.clock.run()
    return shop


async def _placed(shop: Shop) -> Order:
    return await shop.replica().place(shop.draft(), Buyer())


async def _refund(shop: Shop, order: Order, cents: int) -> None:
    """An admin refunds, and the payment service tells."""
    refunded = shop.bank.refund(order, cents)
    await shop.replica().record_refund(order.id, 1000 + order.id, refunded)


async def _to(shop: Shop, order: Order, *statuses: Status) -> Order:
    for status in statuses:
        order = await shop.replica().set_status(ADMIN, order.id, status)
    return order


async def _told(shop: Shop, topic: str) -> list[OutboxEvent]:
    lines: Sequence[Sequence[OutboxEvent]] = await SqlQueue(shop.db).take(topic, NOW + 1000, NOW, 100)
    return [event for line in lines for event in line]


async def test_an_order_that_is_refunded_in_part_stands_and_ships(shop: Shop) -> None:
    order = await _placed(shop)
    await _refund(shop, order, 500)
    refunded = await shop.store.get(order.id)
    assert (refunded.status, refunded.step, refunded.refunded) == (Status.CONFIRMED, Step.DONE, 500)
    delivered = await _to(shop, order, Status.SHIPPED, Status.DELIVERED)
    assert (delivered.status, delivered.refunded) == (Status.DELIVERED, 500)
    assert shop.warehouse.stock[1] == 8


@pytest.mark.parametrize("parts", [[TOTAL], [500, TOTAL - 500], [1] * 3 + [TOTAL - 3]])
async def test_an_order_that_is_refunded_in_full_does_not_ship_and_gives_its_units_back(
    shop: Shop, parts: list[int]
) -> None:
    order = await _placed(shop)
    for cents in parts:
        await _refund(shop, order, cents)
    refunded = await shop.store.get(order.id)
    assert (refunded.status, refunded.step, refunded.refunded) == (Status.REFUNDED, Step.DONE, TOTAL)
    assert shop.untouched
    with pytest.raises(FailedPrecondition) as refused:
        await _to(shop, order, Status.SHIPPED)
    assert refused.value.reason.metadata == {"current": "REFUNDED", "wanted": "SHIPPED"}


@pytest.mark.parametrize("on_the_way", [[Status.SHIPPED], [Status.SHIPPED, Status.DELIVERED]])
async def test_what_has_shipped_does_not_come_back_with_the_money(
    shop: Shop, on_the_way: list[Status]
) -> None:
    order = await _placed(shop)
    await _to(shop, order, *on_the_way)
    await _refund(shop, order, 500)
    assert (await shop.store.get(order.id)).status is on_the_way[-1]
    await _refund(shop, order, TOTAL - 500)
    refunded = await shop.store.get(order.id)
    assert (refunded.status, refunded.refunded) == (Status.REFUNDED, TOTAL)
    assert shop.warehouse.stock[1] == 8
    assert "before release" not in shop.trouble.seen


async def test_a_refund_of_an_order_that_was_cancelled_changes_nothing(shop: Shop) -> None:
    order = await _placed(shop)
    await _refund(shop, order, 500)
    cancelled = await shop.replica().set_status(BOB, order.id, Status.CANCELLED)
    assert (cancelled.status, cancelled.refunded) == (Status.CANCELLED, TOTAL)
    for refunded in (500, TOTAL):  # as the payment service's outbox tells it, later
        await shop.replica().record_refund(order.id, order.payment_id, refunded)
    assert await shop.store.get(order.id) == cancelled
    assert shop.untouched


async def test_a_charge_that_turned_up_after_the_order_was_cancelled_is_noted(shop: Shop) -> None:
    shop.trouble.at["before charge"] = Unavailable("away")
    with pytest.raises(Unavailable):
        await _placed(shop)
    (order,) = (await shop.store.page(2, None, Page(1))).items
    await shop.replica().record_refund(order.id, 77, TOTAL)
    noted = await shop.store.get(order.id)
    assert (noted.status, noted.refunded) == (Status.CANCELLED, TOTAL)
    assert (await _told(shop, NOTIFICATIONS))[-1].payload["title"] == f"Order {order.id}: 24.99 given back"


@pytest.mark.parametrize("told", list(itertools.permutations([500, 1000, 1700])))
async def test_events_that_come_twice_and_out_of_order_count_once(shop: Shop, told: tuple[int, ...]) -> None:
    order = await _placed(shop)
    for refunded in (*told, *told):
        await shop.replica().record_refund(order.id, order.payment_id, refunded)
    assert (await shop.store.get(order.id)).refunded == 1700
    counted = [e for event in await _told(shop, ANALYTICS) for e in event.payload["events"]]
    assert sum(e["cents"] for e in counted if e["kind"] == "PAYMENT_REFUNDED") == 1700


async def test_the_whole_overtakes_its_parts(shop: Shop) -> None:
    order = await _placed(shop)
    for refunded in (TOTAL, 500, 1000, TOTAL):
        await shop.replica().record_refund(order.id, order.payment_id, refunded)
    assert (await shop.store.get(order.id)).status is Status.REFUNDED
    titles = [event.payload["title"] for event in await _told(shop, NOTIFICATIONS)]
    assert titles == [f"Order {order.id} is confirmed", f"Order {order.id} is refunded"]


async def test_a_refund_during_the_saga_is_told_again_and_counts_when_the_order_is_confirmed(
    shop: Shop,
) -> None:
    shop.trouble.at["after charge"] = Crash()
    with pytest.raises(Crash):
        await _placed(shop)
    shop.trouble.at.clear()
    (order,) = (await shop.store.page(2, None, Page(1))).items
    refunded = shop.bank.refund(order, TOTAL)
    ticking = itertools.count(NOW, 0.5).__next__
    saga = Saga(shop.store, shop.warehouse, shop.bank, ticking)
    replica = Orders(shop.store, saga, shop.bank, shop.tasks.start, ticking)
    with pytest.raises(Unavailable):  # it belongs to another replica yet
        await replica.record_refund(order.id, 1000 + order.id, refunded)
    await shop.recovered()
    assert (await shop.store.get(order.id)).status is Status.CONFIRMED
    await shop.replica().record_refund(order.id, 1000 + order.id, refunded)
    settled = await shop.store.get(order.id)
    assert (settled.status, settled.refunded) == (Status.REFUNDED, TOTAL)
    assert shop.untouched


async def test_a_refund_takes_up_an_order_that_a_dead_replica_left(shop: Shop) -> None:
    shop.trouble.at["after charge"] = Crash()
    with pytest.raises(Crash):
        await _placed(shop)
    shop.trouble.at.clear()
    shop.clock.now += 7
    (order,) = (await shop.store.page(2, None, Page(1))).items
    await shop.replica().record_refund(order.id, 1000 + order.id, 500)
    settled = await shop.store.get(order.id)
    assert (settled.status, settled.refunded) == (Status.CONFIRMED, 500)


async def test_what_is_refunded_does_not_ship_although_nobody_has_told_yet(shop: Shop) -> None:
    order = await _placed(shop)
    shop.bank.refund(order, TOTAL)
    with pytest.raises(FailedPrecondition) as refused:
        await _to(shop, order, Status.SHIPPED)
    assert refused.value.reason.reason == "ILLEGAL_STATUS_CHANGE"
    assert (await shop.store.get(order.id)).status is Status.REFUNDED
    assert shop.untouched


async def test_nothing_ships_while_it_cannot_be_seen_whether_it_is_paid_for(shop: Shop) -> None:
    order = await _placed(shop)
    for trouble in (unknown(), Unavailable("away")):
        shop.trouble.at["before look"] = trouble
        with pytest.raises(Unavailable):
            await _to(shop, order, Status.SHIPPED)
    shop.trouble.at.clear()
    assert (await _to(shop, order, Status.SHIPPED)).status is Status.SHIPPED


async def test_a_free_order_ships_without_a_payment(shop: Shop) -> None:
    order = await shop.replica().place(shop.draft(Line(3, 1)), Buyer())
    shop.trouble.at["before look"] = Unavailable("away")
    assert (await _to(shop, order, Status.SHIPPED)).status is Status.SHIPPED
    with pytest.raises(InvalidArgument):
        await shop.replica().record_refund(order.id, 1, 1)


@pytest.mark.parametrize("rival", [Status.SHIPPED, Status.CANCELLED])
async def test_a_refund_that_races_with_another_change_comes_to_one_of_both_ends(
    shop: Shop, rival: Status
) -> None:
    for _ in range(4):
        order = await _placed(shop)
        refunded = shop.bank.refund(order, TOTAL)
        results = await asyncio.gather(
            shop.replica().record_refund(order.id, order.payment_id, refunded),
            shop.replica().set_status(ADMIN, order.id, rival),
            return_exceptions=True,
        )
        assert all(result is None or isinstance(result, Order | MeshError) for result in results)
        await shop.recovered()
        await shop.replica().record_refund(order.id, order.payment_id, refunded)  # told again
        settled = await shop.store.get(order.id)
        assert (settled.step, settled.refunded) == (Step.DONE, TOTAL)
        assert settled.status in (Status.REFUNDED, Status.CANCELLED)
        shipped = any(e.status is Status.SHIPPED for e in await shop.store.events(order.id, 0, 100))
        assert (order.saga_key in shop.warehouse.held) == shipped
        shop.warehouse.held.pop(order.saga_key, None)


@pytest.mark.parametrize("place", ["before release", "after release", "before void", "after void"])
async def test_a_crash_while_a_refunded_order_is_undone_is_made_good(shop: Shop, place: str) -> None:
    order = await _placed(shop)
    refunded = shop.bank.refund(order, TOTAL)
    shop.trouble.at[place] = Crash()
    with pytest.raises(Crash):
        await shop.replica().record_refund(order.id, order.payment_id, refunded)
    shop.trouble.at.clear()
    await shop.recovered()
    await shop.replica().record_refund(order.id, order.payment_id, refunded)
    assert (await shop.store.get(order.id)).status is Status.REFUNDED
    assert shop.untouched


async def test_a_refund_of_something_else_is_refused(shop: Shop) -> None:
    order = await _placed(shop)
    with pytest.raises(InvalidArgument):
        await shop.replica().record_refund(order.id, order.payment_id + 1, 500)
    with pytest.raises(NotFound):
        await shop.replica().record_refund(999, 1, 500)
    assert (await shop.store.get(order.id)).refunded == 0


async def test_buyers_and_those_who_count_are_told_of_each_part(shop: Shop) -> None:
    order = await _placed(shop)
    await _refund(shop, order, 500)
    await shop.replica().set_status(BOB, order.id, Status.CANCELLED)
    told = [(event.payload["title"], event.payload["body"]) for event in await _told(shop, NOTIFICATIONS)]
    assert told[1:] == [
        (f"Order {order.id}: 5.00 given back", "You get 5.00 back. Nothing else changes."),
        (f"Order {order.id} is cancelled", "As you asked for. You get 19.99 back."),
    ]
    counted = [e for event in await _told(shop, ANALYTICS) for e in event.payload["events"]]
    money = [(e["kind"], e["cents"]) for e in counted if e["kind"] != "ORDER_PLACED"]
    assert money == [
        ("PAYMENT_MADE", TOTAL),
        ("PAYMENT_REFUNDED", 500),
        ("ORDER_CANCELLED", TOTAL),
        ("PAYMENT_REFUNDED", 1999),
    ]
    ids = [e["event_id"] for e in counted]
    assert len(set(ids)) == len(ids)


async def test_the_history_tells_of_each_part(shop: Shop) -> None:
    order = await _placed(shop)
    await _refund(shop, order, 500)
    await _refund(shop, order, TOTAL - 500)
    history = await shop.store.events(order.id, order.version, 100)
    assert [(e.status, e.message, e.refunded) for e in history] == [
        (Status.CONFIRMED, "5.00 of 24.99 given back", 500),
        (Status.CONFIRMED, "being undone", 500),
        (Status.REFUNDED, "refunded", TOTAL),
    ]


async def test_the_catalogue_is_told_once_of_what_has_shipped(shop: Shop) -> None:
    order = await _placed(shop)
    await _to(shop, order, Status.SHIPPED, Status.SHIPPED, Status.DELIVERED, Status.REFUNDED)
    (event,) = await _told(shop, STOCK)
    assert (event.event_id, event.payload) == (f"order-{order.id}-shipped", {"key": f"order-{order.id}"})
    assert await shop.replica().backfill_events() == 0


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    refunds=st.lists(st.integers(1, 1500), max_size=4),
    steps=st.lists(st.sampled_from(["ship", "deliver", "cancel", "tell"]), max_size=6),
)
async def test_whatever_is_refunded_and_done_in_whatever_order_the_books_balance(
    shop: Shop, refunds: list[int], steps: list[str]
) -> None:
    shop.warehouse.stock.update({1: 10, 2: 10})
    shop.warehouse.held.clear()
    order = await _placed(shop)
    moves = {"ship": Status.SHIPPED, "deliver": Status.DELIVERED, "cancel": Status.CANCELLED}
    for step in itertools.chain(*itertools.zip_longest(steps, ["refund"] * len(refunds))):
        try:
            if step == "refund" and refunds[0] <= shop.bank.charged.get(order.saga_key, 0):
                shop.bank.refund(order, refunds.pop(0))
            elif step == "tell" and (repaid := shop.bank.repaid.get(order.saga_key, 0)):
                await shop.replica().record_refund(order.id, order.payment_id, repaid)
            elif step in moves:
                await shop.replica().set_status(ADMIN, order.id, moves[step])
        except MeshError:
            continue
    if repaid := shop.bank.repaid.get(order.saga_key, 0):
        await shop.replica().record_refund(order.id, order.payment_id, repaid)
    settled = await shop.store.get(order.id)
    assert settled.refunded == shop.bank.repaid.get(order.saga_key, 0)
    assert (settled.refunded == TOTAL) == (settled.status in (Status.REFUNDED, Status.CANCELLED))
    shipped = any(e.status is Status.SHIPPED for e in await shop.store.events(order.id, 0, 100))
    stands = settled.status in (Status.CONFIRMED, Status.SHIPPED, Status.DELIVERED)
    assert (order.saga_key in shop.warehouse.held) == (stands or shipped)


#: As the version before wrote them.
_OLD = """
    INSERT INTO orders (id, user_id, status, step, total, payment_id, on_file, address, attempts, version,
                        lease_until, created_at, updated_at)
    VALUES (1, 2, 'CONFIRMED', 'DONE', 500, 11, true, '{}', 0, 3, 0, 0, 0),
           (2, 2, 'SHIPPED', 'DONE', 500, 12, true, '{}', 0, 4, 0, 0, 0),
           (3, 2, 'CANCELLED', 'DONE', 500, 13, true, '{}', 0, 5, 0, 0, 0),
           (4, 2, 'REFUNDED', 'DONE', 500, 14, true, '{}', 0, 6, 0, 0, 0),
           (5, 2, 'CANCELLED', 'DONE', 500, 0, true, '{}', 0, 3, 0, 0, 0)
"""


@pytest.mark.parametrize("then", [Status.DELIVERED, Status.REFUNDED])
async def test_what_an_old_replica_shipped_during_an_upgrade_is_told_with_the_next_change(
    shop: Shop, then: Status
) -> None:
    order = await _placed(shop)
    shipped = replace(order, status=Status.SHIPPED, version=order.version + 1)
    statement = "UPDATE orders SET status = 'SHIPPED', version = version + 1"
    await shop.db.write(lambda c: c.execute(sa.text(statement)))
    if then is Status.DELIVERED:
        await _to(shop, shipped, then)
    else:
        await _refund(shop, shipped, TOTAL)
    assert (await shop.store.get(order.id)).status is then
    assert await _told(shop, STOCK) == []
    assert await shop.replica().backfill_events() == 1
    assert [event.event_id for event in await _told(shop, STOCK)] == [f"order-{order.id}-shipped"]


async def test_orders_of_the_version_before_know_of_refunds_and_tell_what_shipped(
    new_databases: Maker,
) -> None:
    url = new_databases().url("order")
    await migrate(url, "order", revision="order_0003")
    async with Database.open(url, "order") as db:
        await db.write(lambda c: c.execute(sa.text(_OLD.replace(":", "\\:"))))
        await migrate(url, "order")
        store = SqlStore(db)
        orders = {order.id: order for order in (await store.page(2, None, Page(10))).items}
        assert {n: o.refunded for n, o in orders.items()} == {1: 0, 2: 0, 3: 500, 4: 500, 5: 0}
        assert [await store.backfill_events(NOW, 3) for _ in range(3)] == [3, 2, 0]
        told = await SqlQueue(db).take(STOCK, NOW, NOW, 10)
        assert sorted(event.event_id for line in told for event in line) == [
            "order-2-shipped",
            "order-4-shipped",
        ]


async def test_what_an_old_replica_had_shipped_when_the_index_changed_is_told(new_databases: Maker) -> None:
    url = new_databases().url("order")
    await migrate(url, "order", revision="order_0005")
    async with Database.open(url, "order") as db:
        await db.write(lambda c: c.execute(sa.text(_OLD.replace(":", "\\:"))))
        await db.write(lambda c: c.execute(sa.text("UPDATE orders SET ship_told = (id <> 2 AND id <> 4)")))
        await migrate(url, "order")
        assert await SqlStore(db).backfill_events(NOW, 10) == 1
        told = await SqlQueue(db).take(STOCK, NOW, NOW, 10)
        assert [event.event_id for line in told for event in line] == ["order-2-shipped"]
