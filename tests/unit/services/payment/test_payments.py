import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grpcmesh.errors import FailedPrecondition, NotFound, PermissionDenied, Unauthenticated, Unavailable
from services.kit.actor import Actor
from services.kit.outbox import SqlQueue
from services.kit.paging import Page
from services.payment.acquirer import SEARCH_LAG
from services.payment.domain import Caller, Card, Charge, Instrument, Method, Status, Wallet
from services.payment.outbox_events import ORDERS
from services.payment.payments import ABANDONED_AFTER, Payments
from services.payment.storage import SqlStore
from services.payment.tables import ledger, metadata, refunds
from tests.databases import stored_text

from .conftest import GIVEN_UP_AFTER, Crash, Shop

WALLET = Instrument(Method.DIGITAL_WALLET, Wallet("user-1", "meshmart"))
CHARGE = Charge(user_id=1, order_id=7, amount=1999, key="order/order-7", instrument=WALLET)
ORDER = Caller(order_service=True)
ADMIN = Caller(Actor(1, frozenset({"admin"})))


def _card(number: str) -> Instrument:
    return Instrument(Method.CREDIT_CARD, Card(number, "01/30", "987"))


async def _moved(shop: Shop) -> int:
    """What the acquirer took, less what it gave back, in cents."""
    approved = sa.select(ledger).where(ledger.c.approved)
    rows = await shop.db.read(lambda c: c.execute(approved).all())
    return sum(row.amount if row.kind == "charge" else -row.amount for row in rows)


async def test_a_key_charges_once_however_often_it_is_sent(shop: Shop) -> None:
    payments = await asyncio.gather(*(shop.payments.process(CHARGE) for _ in range(20)))
    assert len({p.id for p in payments}) == 1
    assert {p.status for p in payments} == {Status.COMPLETED}
    assert len({p.transaction_id for p in payments}) == 1
    assert await _moved(shop) == 1999


async def test_without_a_key_each_request_charges(shop: Shop) -> None:
    for _ in range(2):
        await shop.payments.process(replace(CHARGE, key=None))
    assert await _moved(shop) == 2 * 1999


@pytest.mark.parametrize(
    "other",
    [
        replace(CHARGE, amount=2000),
        replace(CHARGE, order_id=8),
        replace(CHARGE, user_id=2),
        replace(CHARGE, instrument=_card("4242424242424242")),
    ],
)
async def test_a_key_stands_for_one_charge(shop: Shop, other: Charge) -> None:
    await shop.payments.process(CHARGE)
    with pytest.raises(FailedPrecondition) as refused:
        await shop.payments.process(other)
    assert refused.value.reason.reason == "KEY_REUSED"


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("4000000000000002", "card declined"),
        ("4000000000009995", "insufficient funds"),
        ("4000000000000069", "expired card"),
        ("4000000000000127", "incorrect CVV"),
    ],
)
async def test_a_test_number_is_declined_and_stays_declined(shop: Shop, number: str, message: str) -> None:
    charge = replace(CHARGE, instrument=_card(number))
    first, second = [await shop.payments.process(charge) for _ in range(2)]
    assert (first.status, first.message) == (Status.FAILED, message)
    assert second == first
    assert await _moved(shop) == 0


async def test_a_key_alone_tells_what_is_recorded_and_charges_nothing(shop: Shop) -> None:
    question = replace(CHARGE, instrument=None)
    with pytest.raises(FailedPrecondition) as refused:
        await shop.payments.process(question)
    assert refused.value.reason.reason == "NO_SUCH_PAYMENT"
    paid = await shop.payments.process(CHARGE)
    assert await shop.payments.process(question) == paid


@pytest.mark.parametrize("crash", ["before charge", "after charge"])
async def test_a_charge_that_a_crash_broke_off_is_finished_by_asking_again(shop: Shop, crash: str) -> None:
    shop.acquirer.crash = crash
    with pytest.raises(Crash):
        await shop.payments.process(CHARGE)
    shop.acquirer.crash = ""
    assert (await shop.payments.process(CHARGE)).status is Status.COMPLETED
    assert await _moved(shop) == 1999


@pytest.mark.parametrize("crash", ["before charge", "after charge"])
async def test_a_charge_that_nobody_asks_about_again_is_swept_up(shop: Shop, crash: str) -> None:
    shop.acquirer.crash = crash
    with pytest.raises(Crash):
        await shop.payments.process(CHARGE)
    assert await shop.payments.sweep() == 0
    shop.clock.now += GIVEN_UP_AFTER
    assert await shop.payments.sweep() > 0
    (payment,) = (await shop.payments.history(1, Page(10))).items
    taken = crash == "after charge"
    assert payment.status is (Status.COMPLETED if taken else Status.FAILED)
    assert await _moved(shop) == (1999 if taken else 0)


async def test_a_voided_key_cannot_be_charged_any_more(shop: Shop) -> None:
    assert await shop.payments.void(ORDER, "order-7", "cancelled") is None
    late = await shop.payments.process(CHARGE)
    assert late.status is Status.VOIDED
    assert await _moved(shop) == 0
    assert (await shop.payments.history(1, Page(10))).items == []


async def test_voiding_gives_back_what_is_left_once(shop: Shop) -> None:
    paid = await shop.payments.process(CHARGE)
    await shop.payments.refund(ADMIN, paid.id, 500, "scratched", None)
    voided = await asyncio.gather(*(shop.payments.void(ORDER, "order-7", "x") for _ in range(5)))
    assert {p.status for p in voided if p} == {Status.REFUNDED}
    assert await _moved(shop) == 0


@pytest.mark.parametrize("crash", ["before charge", "after charge"])
async def test_a_charge_that_is_voided_half_way_moves_no_money(shop: Shop, crash: str) -> None:
    shop.acquirer.crash = crash
    with pytest.raises(Crash):
        await shop.payments.process(CHARGE)
    shop.acquirer.crash = ""
    with pytest.raises(Unavailable):  # whether it was charged, nobody knows yet
        await shop.payments.void(ORDER, "order-7", "cancelled")
    shop.clock.now += GIVEN_UP_AFTER
    await shop.payments.void(ORDER, "order-7", "cancelled")
    late = await shop.payments.process(CHARGE)
    assert late.status in (Status.FAILED, Status.REFUNDED)
    assert await _moved(shop) == 0


async def test_charging_and_voiding_at_once_leaves_nothing_charged(shop: Shop) -> None:
    for i in range(20):
        charge = replace(CHARGE, order_id=i + 1, key=f"order/order-{i}")
        both = (shop.payments.process(charge), shop.payments.void(ORDER, f"order-{i}", "x"))
        await asyncio.gather(*both, return_exceptions=True)
        shop.clock.now += SEARCH_LAG
        await shop.payments.void(ORDER, f"order-{i}", "x")  # the order's recovery
    assert await _moved(shop) == 0


async def test_refunds_at_once_give_back_no_more_than_was_paid(shop: Shop) -> None:
    paid = await shop.payments.process(CHARGE)
    refunds = [shop.payments.refund(ADMIN, paid.id, 600, "x", None) for _ in range(10)]
    results = await asyncio.gather(*refunds, return_exceptions=True)
    refused = [r for r in results if isinstance(r, FailedPrecondition)]
    assert len(refused) == 7
    assert {r.reason.reason for r in refused} == {"REFUND_EXCEEDS_PAYMENT"}
    payment = await shop.store.get(paid.id)
    assert (payment.status, payment.refunded) == (Status.COMPLETED, 1800)
    await shop.payments.refund(ADMIN, paid.id, 199, "the rest", None)
    assert (await shop.store.get(paid.id)).status is Status.REFUNDED
    assert await _moved(shop) == 0


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(amounts=st.lists(st.integers(1, 3000), max_size=8))
async def test_whatever_is_refunded_the_books_balance(shop: Shop, amounts: list[int]) -> None:
    before = await _moved(shop)
    paid = await shop.payments.process(replace(CHARGE, key=None))
    given_back = 0
    for amount in amounts:
        try:
            await shop.payments.refund(ADMIN, paid.id, amount, "x", None)
            given_back += amount
        except FailedPrecondition:
            assert given_back + amount > 1999
    payment = await shop.store.get(paid.id)
    assert payment.refunded == given_back <= 1999
    assert await _moved(shop) == before + 1999 - given_back


@pytest.mark.parametrize("crash", ["before refund", "after refund"])
async def test_a_refund_that_a_crash_broke_off_is_swept_up_once(shop: Shop, crash: str) -> None:
    paid = await shop.payments.process(CHARGE)
    shop.acquirer.crash = crash
    with pytest.raises(Crash):
        await shop.payments.refund(ADMIN, paid.id, 600, "x", None)
    shop.acquirer.crash = ""
    shop.clock.now += ABANDONED_AFTER + 1
    assert await shop.payments.sweep() == 1
    assert await shop.payments.sweep() == 0
    assert await _moved(shop) == 1999 - 600


async def test_a_refund_key_gives_back_once_and_stands_for_one_refund(shop: Shop) -> None:
    paid = await shop.payments.process(CHARGE)
    same = [shop.payments.refund(ADMIN, paid.id, 600, "x", "k") for _ in range(5)]
    assert len({refund.id for refund in await asyncio.gather(*same)}) == 1
    assert await _moved(shop) == 1999 - 600
    for amount, reason in ((601, "x"), (600, "y")):
        with pytest.raises(FailedPrecondition) as refused:
            await shop.payments.refund(ADMIN, paid.id, amount, reason, "k")
        assert refused.value.reason.reason == "KEY_REUSED"


async def test_what_was_not_paid_is_not_refunded(shop: Shop) -> None:
    with pytest.raises(NotFound):
        await shop.payments.refund(ADMIN, 99, 1, "x", None)
    declined = await shop.payments.process(replace(CHARGE, instrument=_card("4000000000000002")))
    with pytest.raises(FailedPrecondition) as refused:
        await shop.payments.refund(ADMIN, declined.id, 1, "x", None)
    assert refused.value.reason.reason == "PAYMENT_NOT_COMPLETED"


async def test_history_is_newest_first_and_nobody_elses(shop: Shop) -> None:
    ids = [(await shop.payments.process(replace(CHARGE, key=None))).id for _ in range(3)]
    await shop.payments.process(replace(CHARGE, key=None, user_id=2))
    assert [p.id for p in (await shop.payments.history(1, Page(2))).items] == ids[:0:-1]
    assert [p.id for p in (await shop.payments.history(1, Page(2, 2))).items] == ids[:1]


async def test_nothing_that_could_pay_again_is_stored(shop: Shop) -> None:
    await shop.payments.process(replace(CHARGE, instrument=_card("4242424242424242")))
    stored = await stored_text(shop.db)
    assert "4242" in stored
    assert "42424242" not in stored


async def test_only_those_who_may_refund_or_void(shop: Shop) -> None:
    paid = await shop.payments.process(CHARGE)
    bob = Caller(Actor(2, frozenset({"user"})))
    with pytest.raises(PermissionDenied):
        await shop.payments.refund(bob, paid.id, 1, "x", None)
    with pytest.raises(Unauthenticated):
        await shop.payments.refund(Caller(), paid.id, 1, "x", None)
    with pytest.raises(PermissionDenied):
        await shop.payments.void(ADMIN, "order-7", "x")
    assert bob.payer(0) == 2
    with pytest.raises(PermissionDenied):
        bob.payer(1)


async def test_the_migrations_make_the_tables_that_the_code_speaks_of(shop: Shop) -> None:
    differences = await shop.db.read(lambda c: compare_metadata(MigrationContext.configure(c), metadata))
    assert [d for d in differences if d[1].name != "alembic_version"] == []


def test_nobody_reaches_a_key_of_somebody_else() -> None:
    callers = [ORDER, ADMIN, Caller(Actor(2)), Caller(Actor(11))]
    assert len({caller.scoped("order-7") for caller in callers}) == len(callers)


async def _told(shop: Shop) -> list[tuple[str, str, dict[str, int]]]:
    """What orders are to be told: key, event id and payload."""
    lines = await SqlQueue(shop.db).take(ORDERS, shop.clock.now + 1000, shop.clock.now, 100)
    return [(event.key, event.event_id, dict(event.payload)) for line in lines for event in line]


async def test_an_order_is_told_of_each_refund_of_its_payment_in_order(shop: Shop) -> None:
    paid = await shop.payments.process(CHARGE)
    made = [await shop.payments.refund(ADMIN, paid.id, cents, "x", None) for cents in (500, 400)]
    await shop.payments.void(ORDER, "order-7", "cancelled")
    told = await _told(shop)
    assert [payload["refunded_cents"] for _, _, payload in told] == [500, 900, 1999]
    assert [event_id for _, event_id, _ in told[:2]] == [refund.id for refund in made]
    assert {(key, p["order_id"], p["payment_id"]) for key, _, p in told} == {(paid.reference, 7, paid.id)}


async def test_refunds_at_once_are_told_as_they_grow(shop: Shop) -> None:
    paid = await shop.payments.process(CHARGE)
    refunds = [shop.payments.refund(ADMIN, paid.id, 100, "x", f"k{n}") for n in range(8)]
    await asyncio.gather(*refunds, *(shop.payments.refund(ADMIN, paid.id, 100, "x", "k0") for _ in range(4)))
    assert [payload["refunded_cents"] for _, _, payload in await _told(shop)] == [
        100 * n for n in range(1, 9)
    ]


async def test_what_is_no_orders_payment_is_told_to_nobody(shop: Shop) -> None:
    paid = await shop.payments.process(replace(CHARGE, key="user-1/k"))
    await shop.payments.refund(ADMIN, paid.id, 500, "x", None)
    with pytest.raises(FailedPrecondition):
        await shop.payments.refund(ADMIN, paid.id, 5000, "x", None)
    assert await _told(shop) == []


async def test_the_relay_is_woken_after_a_refund(shop: Shop) -> None:
    woken = list[int]()
    store = SqlStore(shop.db, lambda: woken.append(1))
    payments = Payments(store, shop.acquirer, shop.clock)
    paid = await payments.process(CHARGE)
    assert woken == []
    await payments.refund(ADMIN, paid.id, 500, "x", None)
    assert woken == [1]


async def test_refunds_of_the_version_before_are_told_once(shop: Shop) -> None:
    for n, key in enumerate(["order/order-7", "order/order-8", "user-1/k"]):
        paid = await shop.payments.process(replace(CHARGE, order_id=7 + n, key=key))
        await shop.payments.refund(ADMIN, paid.id, 500, "x", None)
    untold = (sa.update(refunds).values(told=None), sa.delete(metadata.tables["outbox"]))
    for statement in untold:
        await shop.db.write(lambda c, statement=statement: c.execute(statement))  # type: ignore[misc]
    for _ in "ab":
        await shop.payments.sweep()
    told = await _told(shop)
    assert sorted(payload["order_id"] for _, _, payload in told) == [7, 8]
    assert {payload["refunded_cents"] for _, _, payload in told} == {500}
