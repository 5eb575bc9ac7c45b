import asyncio
from dataclasses import replace

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from grpcmesh.errors import FailedPrecondition, NotFound, PermissionDenied, Unauthenticated, Unavailable
from services.kit.actor import Actor
from services.kit.paging import Page
from services.order.domain import TRANSITIONS, Address, Buyer, Line, Order, Status, Step, merged
from services.order.failures import Superseded
from services.order.tables import metadata
from tests.databases import before_next_read

from .conftest import Crash, Shop, unknown

BOB = Actor(2, frozenset({"user"}))
CHARLIE = Actor(3, frozenset({"user"}))
ADMIN = Actor(1, frozenset({"admin"}))


async def _placed(shop: Shop, **kwargs: object) -> Order:
    return await shop.replica().place(shop.draft(**kwargs), Buyer())  # type: ignore[arg-type]


async def test_a_key_gives_the_same_order_also_at_once_and_at_another_replica(shop: Shop) -> None:
    orders = await asyncio.gather(*(_placed(shop, key="k") for _ in range(10)))
    assert len({order.id for order in orders}) == 1
    assert {order.status for order in orders} == {Status.CONFIRMED}
    assert shop.bank.charges == 1
    assert shop.warehouse.stock[1] == 8


async def test_a_key_is_one_users_own(shop: Shop) -> None:
    assert (await _placed(shop, key="k")).id != (await _placed(shop, key="k", user_id=3)).id


async def test_a_key_stands_for_one_order(shop: Shop) -> None:
    await _placed(shop, key="k")
    same = shop.draft(key="k")
    others = (
        shop.draft(Line(1, 3), key="k"),
        replace(same, address=Address(city="elsewhere")),
        replace(same, on_file=False),
    )
    for other in others:
        with pytest.raises(FailedPrecondition) as refused:
            await shop.replica().place(other, Buyer())
        assert refused.value.reason.reason == "KEY_REUSED"


async def test_a_retry_is_told_why_the_order_failed(shop: Shop) -> None:
    for _ in range(2):
        with pytest.raises(FailedPrecondition) as refused:
            await shop.replica().place(shop.draft(Line(1, 11), key="k"), Buyer())
        assert refused.value.reason.reason == "OUT_OF_STOCK"
    assert shop.trouble.seen.count("before reserve") == 1


async def test_a_retry_goes_on_where_a_dead_replica_stopped_with_the_card_it_brings(shop: Shop) -> None:
    shop.trouble.at["before charge"] = Crash()
    with pytest.raises(Crash):
        await _placed(shop, key="k")
    shop.trouble.at.clear()
    shop.clock.now += 7
    assert (await _placed(shop, key="k")).status is Status.CONFIRMED


async def test_a_call_that_is_cancelled_as_its_order_is_recorded_has_it_finished_by_recovery(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = shop.store.create

    async def cancelled_meanwhile(order: Order) -> tuple[Order, bool]:
        await create(order)
        raise asyncio.CancelledError

    monkeypatch.setattr(shop.store, "create", cancelled_meanwhile)
    with pytest.raises(asyncio.CancelledError):
        await _placed(shop, key="k")
    assert shop.tasks.running == 0
    await shop.recovered()
    (order,) = (await shop.store.page(2, None, Page(10))).items
    assert order.status is Status.CONFIRMED
    assert shop.bank.charges == 1


async def test_a_key_that_is_set_free_while_it_is_asked_for_places_a_new_order(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = await shop.store.create(shop.draft(key="k"))

    async def comes_to_nothing() -> None:
        await shop.store.save(first.cancelling(Unavailable("away")).undone(0), "cancelled")

    before_next_read(monkeypatch, shop.db, comes_to_nothing)
    placed = await _placed(shop, key="k")
    assert (placed.status, placed.id != first.id) == (Status.CONFIRMED, True)
    assert (await _placed(shop, key="k")).id == placed.id


async def test_the_same_product_twice_is_one_line() -> None:
    assert merged([Line(2, 1), Line(1, 1), Line(2, 3)]) == (Line(2, 4), Line(1, 1))


async def test_an_order_is_its_buyers_and_the_admins(shop: Shop) -> None:
    order = await _placed(shop)
    for actor in (BOB, ADMIN):
        assert (await shop.replica().get(actor, order.id)).id == order.id
    with pytest.raises(PermissionDenied):
        await shop.replica().get(CHARLIE, order.id)
    with pytest.raises(Unauthenticated):
        await shop.replica().get(Actor(), order.id)
    with pytest.raises(NotFound):
        await shop.replica().get(BOB, 999)


async def test_a_list_is_newest_first_by_status_and_ones_own(shop: Shop) -> None:
    ids = [(await _placed(shop, user_id=user)).id for user in (2, 2, 3)]
    replica = shop.replica()
    await replica.set_status(ADMIN, ids[0], Status.SHIPPED)

    async def listed(actor: Actor, user_id: int, status: Status | None = None) -> list[int]:
        return [order.id for order in (await replica.page(actor, user_id, status, Page(10))).items]

    assert await listed(BOB, 0) == await listed(ADMIN, 2) == ids[1::-1]
    assert await listed(ADMIN, 0) == ids[::-1]
    assert await listed(BOB, 2, Status.SHIPPED) == ids[:1]
    with pytest.raises(PermissionDenied):
        await listed(BOB, 3)


async def test_an_admin_takes_an_order_to_its_door_and_back(shop: Shop) -> None:
    order = await _placed(shop)
    for status in (Status.SHIPPED, Status.DELIVERED, Status.REFUNDED):
        for _ in range(2):  # the same again is no error
            assert (await shop.replica().set_status(ADMIN, order.id, status)).status is status
    assert shop.bank.charged == {}
    assert shop.warehouse.stock[1] == 8  # what was delivered does not come back by itself


async def test_a_buyer_may_cancel_and_nothing_else(shop: Shop) -> None:
    order = await _placed(shop)
    with pytest.raises(PermissionDenied):
        await shop.replica().set_status(BOB, order.id, Status.SHIPPED)
    with pytest.raises(PermissionDenied):
        await shop.replica().set_status(CHARLIE, order.id, Status.CANCELLED)
    cancelled = await shop.replica().set_status(BOB, order.id, Status.CANCELLED)
    assert cancelled.status is Status.CANCELLED
    assert shop.untouched


@pytest.mark.parametrize(
    ("at", "to"), [(at, to) for at in Status for to in Status if at is not to and to not in TRANSITIONS[at]]
)
async def test_every_other_change_is_illegal(shop: Shop, at: Status, to: Status) -> None:
    order, _ = await shop.store.create(replace(shop.draft(), status=at, step=Step.DONE))
    with pytest.raises(FailedPrecondition) as refused:
        await shop.replica().set_status(ADMIN, order.id, to)
    assert refused.value.reason.reason == "ILLEGAL_STATUS_CHANGE"
    assert (await shop.store.get(order.id)).status is at


async def test_a_cancellation_that_cannot_be_finished_now_is_finished_later(shop: Shop) -> None:
    order = await _placed(shop)
    shop.trouble.at["before void"] = unknown()
    with pytest.raises(Unavailable):
        await shop.replica().set_status(BOB, order.id, Status.CANCELLED)
    with pytest.raises(FailedPrecondition):
        await shop.replica().set_status(ADMIN, order.id, Status.SHIPPED)
    shop.trouble.at.clear()
    await shop.recovered()
    assert (await shop.replica().set_status(BOB, order.id, Status.CANCELLED)).status is Status.CANCELLED
    assert shop.untouched


async def test_of_two_changes_at_once_one_wins_and_both_are_told(shop: Shop) -> None:
    order = await _placed(shop)
    results = await asyncio.gather(
        shop.replica().set_status(BOB, order.id, Status.CANCELLED),
        shop.replica().set_status(ADMIN, order.id, Status.SHIPPED),
        return_exceptions=True,
    )
    refused = [r for r in results if isinstance(r, FailedPrecondition)]
    assert len(refused) == 1
    settled = await shop.store.get(order.id)
    assert (settled.status is Status.CANCELLED) == (not shop.bank.charged)


async def test_a_change_of_an_old_version_is_refused_and_leaves_no_event(shop: Shop) -> None:
    order = await _placed(shop)
    before = await shop.store.events(order.id, 0, 100)
    with pytest.raises(Superseded):
        await shop.store.save(replace(order, version=order.version - 1), "stale")
    assert await shop.store.events(order.id, 0, 100) == before


async def test_the_migrations_make_the_tables_that_the_code_speaks_of(shop: Shop) -> None:
    differences = await shop.db.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    assert [d for d in differences if d[1].name != "alembic_version"] == []
