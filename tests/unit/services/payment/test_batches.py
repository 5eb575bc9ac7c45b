import asyncio
from collections.abc import Sequence
from dataclasses import replace

import pytest
import sqlalchemy as sa

from grpcmesh.errors import FailedPrecondition
from services.kit.paging import Page
from services.payment.acquirer import SEARCH_LAG
from services.payment.batches import Batches
from services.payment.domain import Card, Charge, Instrument, Method, Outcome, Payment, Refund, Status, Wallet
from services.payment.payments import ABANDONED_AFTER
from services.payment.tables import ledger, refunds

from .conftest import GIVEN_UP_AFTER, Crash, CrashingAcquirer, Shop

WALLET = Instrument(Method.DIGITAL_WALLET, Wallet("user-1", "meshmart"))
DECLINED = Instrument(Method.CREDIT_CARD, Card("4000000000009995", "01/30", "987"))


def _charges(*amounts: int, keys: bool = True, declined: int | None = None) -> list[Charge]:
    return [
        Charge(1, 7 + i, amount, f"user-1/k{i}" if keys else None, DECLINED if i == declined else WALLET)
        for i, amount in enumerate(amounts)
    ]


async def _moved(shop: Shop) -> int:
    """What the acquirer took, less what it gave back, in cents."""
    approved = sa.select(ledger).where(ledger.c.approved)
    rows = await shop.db.read(lambda c: c.execute(approved).all())
    return sum(row.amount if row.kind == "charge" else -row.amount for row in rows)


async def _recorded(shop: Shop) -> int:
    """The same by our own books."""
    payments = (await shop.store.history(1, Page(100))).items
    return sum(p.amount - p.refunded for p in payments if p.status is not Status.FAILED)


def _statuses(payments: Sequence[Payment]) -> list[Status]:
    return [payment.status for payment in payments]


class Dying(CrashingAcquirer):
    """An acquirer whose caller dies when it asks for one charge more."""

    def __init__(self, shop: Shop, charges: int) -> None:
        super().__init__(shop.acquirer)
        self._left = charges

    async def charge(self, reference: str, amount: int, instrument: Instrument) -> Outcome:
        if not self._left:
            raise Crash
        self._left -= 1
        return await super().charge(reference, amount, instrument)


async def _abandoned(shop: Shop, charges: Sequence[Charge], made: int) -> None:
    with pytest.raises(Crash):
        await Batches(shop.store, Dying(shop, made), shop.clock).process(charges)
    shop.clock.now += GIVEN_UP_AFTER


@pytest.mark.parametrize("keys", [True, False])
async def test_a_batch_is_charged_as_a_whole_and_in_its_order(shop: Shop, keys: bool) -> None:
    payments = await shop.batches.process(_charges(100, 250, 7, keys=keys))
    assert [p.amount for p in payments] == [100, 250, 7]
    assert _statuses(payments) == [Status.COMPLETED] * 3
    assert len({p.batch for p in payments}) == 1
    assert await _moved(shop) == await _recorded(shop) == 357


async def test_of_a_batch_with_a_decline_nothing_is_kept(shop: Shop) -> None:
    payments = await shop.batches.process(_charges(100, 250, 7, 8, declined=2))
    assert _statuses(payments) == [Status.UNDONE, Status.UNDONE, Status.FAILED, Status.FAILED]
    assert payments[2].message == "insufficient funds"
    assert payments[3].message == "not charged, as requests[2] was declined"
    assert await _moved(shop) == await _recorded(shop) == 0
    count = sa.select(sa.func.count()).select_from(ledger)
    assert await shop.db.read(lambda c: c.scalar(count)) == 5


@pytest.mark.parametrize("declined", [None, 1])
async def test_the_same_batch_again_is_answered_and_not_charged(shop: Shop, declined: int | None) -> None:
    charges = _charges(100, 250, declined=declined)
    many = await asyncio.gather(*(shop.batches.process(charges) for _ in range(10)))
    assert all(each == many[0] for each in many)
    assert await _moved(shop) == await _recorded(shop) == (0 if declined else 350)


async def test_a_batch_stays_settled_when_a_payment_of_it_is_refunded_later(shop: Shop) -> None:
    charges = _charges(100, 250)
    first, _ = await shop.batches.process(charges)
    await shop.store.open_refund(_refund(first))
    again = await shop.batches.process(charges)
    assert _statuses(again) == [Status.REFUNDED, Status.COMPLETED]
    assert all(payment.succeeded for payment in again)


def _refund(payment: Payment) -> Refund:
    return Refund("re_1", payment.id, payment.amount, "", None, 0.0)


async def test_keys_stand_for_their_batch(shop: Shop) -> None:
    charges = _charges(100, 250)
    await shop.batches.process(charges)
    single = replace(charges[0], key="user-1/single")
    await shop.payments.process(single)
    for other in (
        charges[:1],
        charges[::-1],
        [*charges, replace(charges[0], key="user-1/k9")],
        [charges[0], replace(charges[1], amount=251)],
        [charges[0], replace(charges[1], instrument=DECLINED)],
        [replace(charges[0], key="user-1/new"), charges[1]],
        [single, replace(charges[1], key="user-1/new")],
    ):
        with pytest.raises(FailedPrecondition) as caught:
            await shop.batches.process(other)
        assert caught.value.reason.reason == "KEY_REUSED"
    for charge in (charges[0], replace(charges[0], instrument=None)):
        with pytest.raises(FailedPrecondition):
            await shop.payments.process(charge)
    assert await _moved(shop) == await _recorded(shop) == 450


@pytest.mark.parametrize("made", [0, 1, 2])
async def test_a_batch_that_a_crash_left_is_undone_by_another_replica(shop: Shop, made: int) -> None:
    charges = _charges(100, 250, 7)
    await _abandoned(shop, charges, made)
    assert await shop.payments.sweep() == 0  # it is not for those who sweep single payments
    assert await shop.batches.sweep() == 1
    assert await shop.batches.sweep() == 0
    payments = await shop.batches.process(charges)
    assert _statuses(payments) == [Status.UNDONE] * made + [Status.FAILED] * (3 - made)
    assert await _moved(shop) == await _recorded(shop) == 0


async def test_a_batch_all_of_which_was_charged_is_settled_by_another_replica(shop: Shop) -> None:
    charges = _charges(100, 250)
    await _abandoned(shop, charges, 1)
    # The last charge was made, and the process died before it could record anything.
    payments = await shop.store.of_batch(await _batch(shop))
    await shop.acquirer.charge(payments[1].reference, 250, WALLET)
    shop.clock.now += SEARCH_LAG + 1
    assert await shop.batches.sweep() == 1
    assert _statuses(await shop.batches.process(charges)) == [Status.COMPLETED] * 2
    assert await _moved(shop) == await _recorded(shop) == 350


async def _batch(shop: Shop) -> str:
    (batch,) = await shop.store.unfinished_batches(shop.clock.now, 10)
    return batch


async def test_a_client_that_comes_back_before_the_sweep_has_its_batch_settled(shop: Shop) -> None:
    charges = _charges(100, 250, 7)
    await _abandoned(shop, charges, 2)
    assert _statuses(await shop.batches.process(charges)) == [Status.COMPLETED] * 3
    assert await shop.batches.sweep() == 0
    assert await _moved(shop) == await _recorded(shop) == 357


async def test_a_slow_replica_and_a_sweep_agree(shop: Shop) -> None:
    charges = _charges(*[100] * 6)
    await _abandoned(shop, charges, 3)
    results = await asyncio.gather(shop.batches.process(charges), shop.batches.sweep(), shop.batches.sweep())
    (payments, *_) = results
    assert len({p.succeeded for p in payments}) == 1
    assert await _moved(shop) == await _recorded(shop) == (600 if payments[0].succeeded else 0)


async def test_what_an_undone_batch_owes_is_paid_after_a_crash(shop: Shop) -> None:
    shop.acquirer.crash = "before refund"
    with pytest.raises(Crash):
        await shop.batches.process(_charges(100, 250, declined=1))
    assert await _moved(shop) == 100
    assert await _recorded(shop) == 0
    shop.acquirer.crash = ""
    shop.clock.now += ABANDONED_AFTER + 1
    assert await shop.payments.sweep() == 1
    assert await _moved(shop) == 0
    assert await shop.db.read(lambda c: c.execute(sa.select(refunds.c.settled)).scalar_one())
