import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpcmesh.errors import FailedPrecondition, MeshError, NotFound, Unavailable
from services.kit.actor import Actor
from services.kit.paging import Page
from services.order.domain import Buyer, Instrument, Line, Order, Status, Step

from .conftest import Crash, Shop, unknown, until

BOB = Actor(2, frozenset({"user"}))
CARD = Buyer(Instrument(b"sealed"))
PLACES = [
    f"{when} {step}" for step in ("reserve", "charge", "release", "void") for when in ("before", "after")
]


async def _only(shop: Shop) -> Order:
    (order,) = (await shop.store.page(2, None, Page(10))).items
    return order


def _balanced(shop: Shop, orders: list[Order]) -> None:
    """Each order is either confirmed, charged once and its stock taken once, or cancelled with no trace."""
    confirmed = [order for order in orders if order.status is Status.CONFIRMED]
    assert {o.status for o in orders} <= {Status.CONFIRMED, Status.CANCELLED}
    assert shop.bank.charged == {o.saga_key: o.total for o in confirmed if o.total}
    for product_id, left in shop.warehouse.stock.items():
        taken = sum(line.quantity for o in confirmed for line in o.lines if line.product_id == product_id)
        assert left + taken == 10


async def test_an_order_is_reserved_priced_charged_and_confirmed(shop: Shop) -> None:
    order = await shop.replica().place(shop.draft(), Buyer())
    assert (order.status, order.step, order.total) == (Status.CONFIRMED, Step.DONE, 2 * 250 + 1999)
    assert order.lines[0] == Line(1, 2, "product 1", 250)
    assert order.payment_id == 1000 + order.id
    assert await shop.store.get(order.id) == order
    assert shop.warehouse.stock == {1: 8, 2: 9, 3: 10}
    assert shop.bank.charged == {order.saga_key: 2499}


async def test_a_free_order_is_not_charged(shop: Shop) -> None:
    order = await shop.replica().place(shop.draft(Line(3, 1)), Buyer())
    assert (order.status, order.total, shop.bank.charges) == (Status.CONFIRMED, 0, 0)
    assert "before charge" not in shop.trouble.seen


async def test_out_of_stock_reaches_the_buyer_and_takes_nothing(shop: Shop) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await shop.replica().place(shop.draft(Line(1, 1), Line(2, 11)), Buyer())
    assert refused.value.reason.reason == "OUT_OF_STOCK"
    assert refused.value.reason.metadata == {"product_id": "2"}
    assert (await _only(shop)).status is Status.CANCELLED
    assert shop.untouched
    assert "before charge" not in shop.trouble.seen


async def test_a_product_that_is_not_there_is_named(shop: Shop) -> None:
    with pytest.raises(NotFound) as missing:
        await shop.replica().place(shop.draft(Line(99, 1)), Buyer())
    assert (missing.value.resource_type, missing.value.name) == ("Product", "99")


async def test_a_declined_payment_gives_the_stock_back(shop: Shop) -> None:
    shop.bank.declines = True
    with pytest.raises(FailedPrecondition) as refused:
        await shop.replica().place(shop.draft(), CARD)
    assert refused.value.reason.reason == "PAYMENT_DECLINED"
    assert (await _only(shop)).status is Status.CANCELLED
    assert shop.untouched


async def test_a_total_too_large_is_refused_and_released(shop: Shop) -> None:
    shop.warehouse.prices[1] = 900_000_000
    with pytest.raises(FailedPrecondition) as refused:
        await shop.replica().place(shop.draft(), Buyer())
    assert refused.value.reason.reason == "ORDER_TOO_LARGE"
    assert shop.untouched


@pytest.mark.parametrize("step", ["reserve", "charge"])
async def test_a_service_that_is_away_is_told_after_compensation(shop: Shop, step: str) -> None:
    shop.trouble.at[f"before {step}"] = Unavailable("away")
    with pytest.raises(Unavailable):
        await shop.replica().place(shop.draft(key="k"), Buyer())
    assert (await _only(shop)).status is Status.CANCELLED
    assert shop.untouched
    shop.trouble.at.clear()
    again = await shop.replica().place(shop.draft(key="k"), Buyer())
    assert again.status is Status.CONFIRMED  # the key was set free


async def test_a_compensation_that_fails_is_finished_by_recovery(shop: Shop) -> None:
    shop.bank.declines = True
    shop.trouble.at["before void"] = Unavailable("away")
    with pytest.raises(FailedPrecondition):
        await shop.replica().place(shop.draft(), CARD)
    assert (await _only(shop)).step is Step.CANCEL
    shop.trouble.at.clear()
    await shop.recovered()
    assert (await _only(shop)).status is Status.CANCELLED
    assert shop.untouched


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("on_file", [True, False])
async def test_an_unknown_outcome_is_not_guessed(shop: Shop, when: str, on_file: bool) -> None:
    shop.trouble.at[f"{when} charge"] = unknown()
    order = await shop.replica().place(shop.draft(on_file=on_file), CARD)
    assert (order.status, order.step) == (Status.PENDING, Step.CHARGE)
    shop.trouble.at.clear()
    await shop.recovered()
    settled = await _only(shop)
    # Without the card there is no charging it, only learning whether it was charged.
    known = when == "after" or on_file
    assert settled.status is (Status.CONFIRMED if known else Status.CANCELLED)
    _balanced(shop, [settled])


async def test_an_unknown_reservation_is_undone(shop: Shop) -> None:
    shop.trouble.at["after reserve"] = unknown()
    with pytest.raises(Unavailable):
        await shop.replica().place(shop.draft(), Buyer())
    assert shop.untouched


@pytest.mark.parametrize("declines", [False, True])
@pytest.mark.parametrize("on_file", [True, False])
@pytest.mark.parametrize("place", PLACES)
async def test_a_crash_between_any_two_steps_loses_neither_money_nor_stock(
    shop: Shop, place: str, on_file: bool, declines: bool
) -> None:
    shop.bank.declines = declines
    shop.trouble.at[place] = Crash()
    with suppress(Crash, MeshError):
        await shop.replica().place(shop.draft(on_file=on_file), CARD)
    shop.trouble.at.clear()
    await shop.recovered()
    order = await _only(shop)
    assert order.step is Step.DONE
    _balanced(shop, [order])
    assert shop.bank.charges <= 1


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    troubles=st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from(["crash", "unknown", "unavailable"])), max_size=5
    ),
    cancelled=st.booleans(),
)
async def test_whatever_goes_wrong_in_whatever_order_the_books_balance(
    shop: Shop, troubles: list[tuple[str, str]], cancelled: bool
) -> None:
    make: dict[str, Callable[[], BaseException]] = {
        "crash": Crash,
        "unknown": unknown,
        "unavailable": lambda: Unavailable("away"),
    }
    replica, draft = shop.replica(), shop.draft(Line(1, 1), on_file=False)
    (before, _) = await shop.store.create(replace(draft, key=None, step=Step.DONE, status=Status.CANCELLED))
    for number, (place, kind) in enumerate(troubles or [("", "crash")]):
        shop.trouble.at = {place: make[kind]()}
        work = replica.place(draft, CARD) if number == 0 else _recover(shop)
        await asyncio.gather(work, return_exceptions=True)
        if cancelled and number == 1:
            await _cancel_newest(shop)
    shop.trouble.at.clear()
    await shop.recovered()
    orders = [o for o in (await shop.store.page(2, None, Page(100))).items if o.id > before.id]
    keys = {o.saga_key for o in orders if o.status is Status.CONFIRMED}
    assert all((o.saga_key in shop.bank.charged) == (o.saga_key in keys) for o in orders)
    assert all((o.saga_key in shop.warehouse.held) == (o.saga_key in keys) for o in orders)
    for order in orders:  # so that the next example has stock
        shop.warehouse.stock[1] += len(shop.warehouse.held.pop(order.saga_key, []))


async def _recover(shop: Shop) -> None:
    shop.clock.now += 10
    await shop.replica().recover()


async def _cancel_newest(shop: Shop) -> None:
    newest = (await shop.store.page(2, None, Page(1))).items[0]
    await asyncio.gather(shop.replica().set_status(BOB, newest.id, Status.CANCELLED), return_exceptions=True)


async def test_a_caller_that_hangs_up_does_not_stop_the_order(shop: Shop) -> None:
    reached, go_on = asyncio.Event(), asyncio.Event()

    async def dawdle() -> None:
        reached.set()
        await go_on.wait()

    shop.trouble.meanwhile["before charge"] = dawdle
    call = asyncio.create_task(shop.replica().place(shop.draft(), Buyer()))
    await reached.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()
    await until(lambda: bool(shop.bank.charged))
    await until(lambda: not shop.tasks.running)
    assert (await _only(shop)).status is Status.CONFIRMED


async def test_a_replica_that_was_only_slow_does_not_work_against_the_one_that_took_over(shop: Shop) -> None:
    async def cancelled_elsewhere() -> None:
        await shop.replica().set_status(BOB, (await _only(shop)).id, Status.CANCELLED)

    shop.trouble.meanwhile["before charge"] = cancelled_elsewhere
    order = await shop.replica().place(shop.draft(), Buyer())
    assert order.status is Status.CANCELLED
    assert shop.untouched


async def test_two_replicas_that_recover_at_once_do_it_once(shop: Shop) -> None:
    shop.trouble.at["after charge"] = Crash()
    with pytest.raises(Crash):
        await shop.replica().place(shop.draft(), Buyer())
    shop.trouble.at.clear()
    shop.clock.now += 7
    await asyncio.gather(*(shop.replica().recover() for _ in range(4)))
    order = await _only(shop)
    _balanced(shop, [order])
    assert (order.status, shop.bank.charges) == (Status.CONFIRMED, 1)
    assert shop.trouble.seen.count("before charge") == 2


async def test_recovery_waits_for_a_service_that_is_away(shop: Shop) -> None:
    shop.trouble.at["before charge"] = Crash()
    with pytest.raises(Crash):
        await shop.replica().place(shop.draft(), Buyer())
    shop.trouble.at["before charge"] = Unavailable("away")
    shop.clock.now += 7
    await shop.replica().recover()
    assert (await _only(shop)).step is Step.CHARGE
    shop.trouble.at.clear()
    await shop.recovered()
    assert (await _only(shop)).status is Status.CONFIRMED


async def test_recovery_does_not_touch_what_is_being_worked_at(shop: Shop) -> None:
    shop.trouble.at["before charge"] = Crash()
    with pytest.raises(Crash):
        await shop.replica().place(shop.draft(), Buyer())
    shop.trouble.at.clear()
    assert await shop.replica().recover() == 0


async def test_an_order_too_old_is_cancelled_instead_of_charged(shop: Shop) -> None:
    shop.trouble.at["before charge"] = Crash()
    with pytest.raises(Crash):
        await shop.replica().place(shop.draft(), Buyer())
    shop.trouble.at.clear()
    shop.clock.now += 3600
    await shop.replica().recover()
    assert (await _only(shop)).status is Status.CANCELLED
    assert shop.untouched


async def test_one_order_that_cannot_be_recovered_does_not_hold_up_the_others(shop: Shop) -> None:
    shop.trouble.at["before reserve"] = Crash()
    for line in (Line(1, 1), Line(77, 1)):
        with pytest.raises(Crash):
            await shop.replica().place(shop.draft(line), Buyer())
    shop.trouble.at.clear()
    shop.warehouse.stock[77] = 5  # no price: an error that nobody foresaw
    shop.clock.now += 7
    with pytest.raises(ExceptionGroup):
        await shop.replica().recover()
    statuses = [order.status for order in (await shop.store.page(2, None, Page(10))).items]
    assert statuses == [Status.PENDING, Status.CONFIRMED]


async def test_errors_nobody_foresaw_are_reported_and_the_step_stays(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    shop.trouble.at["before charge"] = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await shop.replica().place(shop.draft(), Buyer())
    assert "ZeroDivisionError" in caplog.text
    assert (await _only(shop)).step is Step.CHARGE


@pytest.mark.parametrize("expected", [2498, 2500, 0])
async def test_a_total_that_the_buyer_was_not_shown_is_refused_with_the_new_one(
    shop: Shop, expected: int
) -> None:
    for _ in "ab":  # a retry is told the same
        with pytest.raises(FailedPrecondition) as refused:
            await shop.replica().place(shop.draft(key="k", expected=expected), Buyer())
        reason = refused.value.reason
        assert reason.reason == "PRICE_CHANGED"
        assert (reason.metadata["total"], reason.metadata["total_cents"]) == ("24.99", "2499")
    assert "the total is now 24.99" in refused.value.message
    assert shop.untouched
    assert "before charge" not in shop.trouble.seen


async def test_the_total_that_was_shown_is_charged(shop: Shop) -> None:
    order = await shop.replica().place(shop.draft(expected=2499), Buyer())
    assert (order.status, order.total) == (Status.CONFIRMED, 2499)
    free = await shop.replica().place(shop.draft(Line(3, 1), expected=0), Buyer())
    assert free.status is Status.CONFIRMED


async def test_recovery_knows_what_the_buyer_was_shown(shop: Shop) -> None:
    shop.trouble.at["before reserve"] = Crash()
    with pytest.raises(Crash):
        await shop.replica().place(shop.draft(expected=2499), Buyer())
    shop.trouble.at.clear()
    shop.warehouse.prices[1] += 1
    await shop.recovered()
    order = await _only(shop)
    assert order.status is Status.CANCELLED
    assert order.failure is not None
    assert order.failure.reason == "PRICE_CHANGED"


async def test_a_key_stands_for_one_expected_total(shop: Shop) -> None:
    await shop.replica().place(shop.draft(key="k", expected=2499), Buyer())
    for expected in (None, 2500):
        with pytest.raises(FailedPrecondition) as refused:
            await shop.replica().place(shop.draft(key="k", expected=expected), Buyer())
        assert refused.value.reason.reason == "KEY_REUSED"
