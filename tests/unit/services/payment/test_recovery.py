"""What becomes of charges whose answer was lost, at a processor that closes nothing for us."""

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa

from grpcmesh.errors import Unavailable
from services.kit.outbox import SqlQueue
from services.kit.paging import Page
from services.payment.acquirer import SEARCH_LAG, SimulatedAcquirer
from services.payment.batches import Batches
from services.payment.domain import KEY_LIFETIME, Caller, Charge, Instrument, Method, Outcome, Status, Wallet
from services.payment.outbox_events import ORDERS
from services.payment.payments import Payments
from services.payment.ports import Acquirer
from services.payment.recovery import WATCHED_FOR
from services.payment.tables import ledger

from .conftest import GIVEN_UP_AFTER, Crash, CrashingAcquirer, Shop

WALLET = Instrument(Method.DIGITAL_WALLET, Wallet("user-1", "meshmart"))
CHARGE = Charge(user_id=1, order_id=7, amount=1999, key="order/order-7", instrument=WALLET)
QUESTION = replace(CHARGE, instrument=None)
ORDER = Caller(order_service=True)


async def _moved(shop: Shop) -> int:
    """What the acquirer took, less what it gave back, in cents."""
    rows = await shop.db.read(lambda c: c.execute(sa.select(ledger).where(ledger.c.approved)).all())
    return sum(row.amount if row.kind == "charge" else -row.amount for row in rows)


async def _broken_off(shop: Shop, crash: str) -> None:
    shop.acquirer.crash = crash
    with pytest.raises(Crash):
        await shop.payments.process(CHARGE)
    shop.acquirer.crash = ""


def test_the_simulation_offers_what_the_port_has_and_no_more() -> None:
    offered = {name for name in vars(SimulatedAcquirer) if not name.startswith("_")} | {"search_lag"}
    assert offered == {name for name in vars(Acquirer) if not name.startswith("_")}
    assert offered == {"charge", "search", "refund", "refunds", "search_lag"}


async def test_a_charge_is_found_by_its_reference_after_the_index_has_caught_up(shop: Shop) -> None:
    paid = await shop.payments.process(CHARGE)
    assert await shop.acquirer.search(paid.reference) is None
    shop.clock.now += SEARCH_LAG
    assert await shop.acquirer.search(paid.reference) == Outcome(True, paid.transaction_id, "approved")
    assert await shop.acquirer.search("payment-999") is None


@pytest.mark.parametrize("ask", ["question", "void"])
async def test_nobody_is_told_what_is_not_known_yet(shop: Shop, ask: str) -> None:
    await _broken_off(shop, "after charge")
    with pytest.raises(Unavailable):
        await (
            shop.payments.process(QUESTION) if ask == "question" else shop.payments.void(ORDER, "order-7", "")
        )
    (payment,) = (await shop.payments.history(1, Page(10))).items
    assert payment.status is Status.PROCESSING
    shop.clock.now += SEARCH_LAG
    assert (await shop.payments.process(QUESTION)).status is Status.COMPLETED


async def test_a_charge_that_was_never_made_is_given_up_when_it_can_no_longer_be_under_way(
    shop: Shop,
) -> None:
    await _broken_off(shop, "before charge")
    shop.clock.now += GIVEN_UP_AFTER - 2
    with pytest.raises(Unavailable):
        await shop.payments.process(QUESTION)
    shop.clock.now += 2
    given_up = await shop.payments.process(QUESTION)
    assert (given_up.status, given_up.message) == (Status.FAILED, "the charge was not made")


@pytest.mark.parametrize("after", [5.0, 700.0, WATCHED_FOR - 1])
async def test_a_charge_that_turns_up_after_it_was_given_up_is_given_back(shop: Shop, after: float) -> None:
    await _broken_off(shop, "before charge")
    shop.clock.now += GIVEN_UP_AFTER
    await shop.payments.sweep()
    (payment,) = (await shop.payments.history(1, Page(10))).items
    given_up_at = shop.clock.now
    while shop.clock.now < given_up_at + after:
        shop.clock.now += 10
        await shop.payments.sweep()
    # The request had been on its way all that time.
    await shop.acquirer.charge(payment.reference, payment.amount, WALLET)
    for _ in range(800):
        shop.clock.now += 10
        await shop.payments.sweep()
    (payment,) = (await shop.payments.history(1, Page(10))).items
    assert (payment.status, payment.refunded) == (Status.UNDONE, 1999)
    assert await _moved(shop) == 0
    ((told,),) = await SqlQueue(shop.db).take(ORDERS, shop.clock.now, shop.clock.now, 10)
    assert told.payload == {"order_id": 7, "payment_id": payment.id, "refunded_cents": 1999}


async def test_a_charge_that_stays_away_is_looked_for_ever_less_and_then_no_more(shop: Shop) -> None:
    await _broken_off(shop, "before charge")
    shop.clock.now += GIVEN_UP_AFTER
    looks = 0
    for _ in range(1500):
        looks += await shop.payments.sweep()
        shop.clock.now += 10
    assert 5 < looks < 20
    assert await shop.store.watched(shop.clock.now + 1e9, 10) == []


class Slow(CrashingAcquirer):
    """An acquirer that answers when it is let go."""

    def __init__(self, acquirer: Acquirer) -> None:
        super().__init__(acquirer)
        self.asked, self.go_on = asyncio.Event(), asyncio.Event()

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        self.asked.set()
        await self.go_on.wait()
        return await super().charge(reference, amount, instrument)


async def test_a_replica_that_charges_after_its_payment_was_given_up_gives_it_back_itself(shop: Shop) -> None:
    slow = Slow(shop.acquirer)
    charging = asyncio.create_task(Payments(shop.store, slow, shop.clock).process(CHARGE))
    await slow.asked.wait()
    shop.clock.now += GIVEN_UP_AFTER
    assert (await shop.payments.process(QUESTION)).status is Status.FAILED
    slow.go_on.set()
    payment = await charging
    assert (payment.status, payment.succeeded) == (Status.UNDONE, False)
    assert await _moved(shop) == 0


async def test_a_batch_that_is_charged_after_it_was_given_up_is_given_back(shop: Shop) -> None:
    slow = Slow(shop.acquirer)
    charges = [replace(CHARGE, key=f"user-1/k{n}", amount=100 + n) for n in range(3)]
    charging = asyncio.create_task(Batches(shop.store, slow, shop.clock).process(charges))
    await slow.asked.wait()
    shop.clock.now += GIVEN_UP_AFTER
    assert await shop.batches.sweep() == 1
    slow.go_on.set()
    assert {payment.status for payment in await charging} == {Status.UNDONE}
    assert await _moved(shop) == 0


class Forgetful(CrashingAcquirer):
    """As a real one, whose keys have expired: to ask again is to charge, or to refund, again."""

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        raise AssertionError("charged twice")

    async def refund(self, reference: str, transaction_id: str, amount: int) -> None:
        raise AssertionError("refunded twice")


@pytest.mark.parametrize("crash", ["before charge", "after charge"])
@pytest.mark.parametrize("batch", [False, True])
async def test_a_reference_that_the_acquirer_may_have_forgotten_is_not_charged_again(
    shop: Shop, crash: str, batch: bool
) -> None:
    shop.acquirer.crash = crash
    with pytest.raises(Crash):
        await (shop.batches.process([CHARGE]) if batch else shop.payments.process(CHARGE))
    shop.clock.now += KEY_LIFETIME + 1
    forgetful = Forgetful(shop.acquirer.acquirer)
    if batch:
        (payment,) = await Batches(shop.store, forgetful, shop.clock).process([CHARGE])
    else:
        payment = await Payments(shop.store, forgetful, shop.clock).process(CHARGE)
    assert payment.status is (Status.COMPLETED if crash == "after charge" else Status.FAILED)
    assert await _moved(shop) == (1999 if crash == "after charge" else 0)


async def test_a_refund_that_the_acquirer_may_have_forgotten_is_not_made_again(shop: Shop) -> None:
    await shop.payments.process(CHARGE)
    shop.acquirer.crash = "after refund"
    with pytest.raises(Crash):
        await shop.payments.void(ORDER, "order-7", "cancelled")
    shop.clock.now += KEY_LIFETIME + 1
    assert await Payments(shop.store, Forgetful(shop.acquirer.acquirer), shop.clock).sweep() == 1
    assert await shop.store.unsettled(shop.clock.now, 10) == []


async def test_a_refund_that_was_never_made_is_made_however_late(shop: Shop) -> None:
    await shop.payments.process(CHARGE)
    shop.acquirer.crash = "before refund"
    with pytest.raises(Crash):
        await shop.payments.void(ORDER, "order-7", "cancelled")
    shop.acquirer.crash = ""
    shop.clock.now += KEY_LIFETIME + 1
    assert await shop.payments.sweep() == 1
    assert await _moved(shop) == 0
