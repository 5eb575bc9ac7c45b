import asyncio
from dataclasses import replace

import sqlalchemy as sa

from services.kit.background import repeating
from services.payment.domain import Charge, Instrument, Method, Outcome, Payment, Status, Wallet
from services.payment.feed import Feed
from services.payment.payments import Payments
from services.payment.rows import outcome_columns
from services.payment.storage import SqlStore, _finish
from services.payment.tables import payments as table
from tests.databases import meanwhile

from .conftest import NOW, Shop

CHARGE = Charge(1, 7, 100, None, Instrument(Method.DIGITAL_WALLET, Wallet("user-1", "meshmart")))
_NEW = Payment(0, 1, 1, 100, Method.CREDIT_CARD, Status.PROCESSING, None, "t", "4242", NOW)
_DONE = Outcome(True, "txn", "approved")
DECLINED = replace(CHARGE, instrument=Instrument(Method.DIGITAL_WALLET, Wallet("declined", "meshmart")))


async def _take(feed: Feed, after: int, number: int) -> list[Payment]:
    taken: list[Payment] = []
    stream = feed.follow(after)
    while len(taken) < number:
        taken.append(await anext(stream))
    return taken


async def test_cursors_have_no_gap_whichever_way_payments_end(shop: Shop) -> None:
    await shop.payments.process(CHARGE)
    await shop.payments.process(DECLINED)
    await shop.batches.process([CHARGE, replace(CHARGE, amount=1), DECLINED])
    await asyncio.gather(*(shop.payments.process(replace(CHARGE, key="user-1/k")) for _ in range(8)))
    settled = await shop.store.settled(0, 100)
    assert [p.cursor for p in settled] == [1, 2, 3, 4, 5, 6]
    assert [p.id for p in settled] == [1, 2, 3, 4, 5, 6]
    assert await shop.store.last_cursor() == 6
    assert await shop.store.settled(4, 1) == settled[4:5]


async def test_a_payment_is_followed_once_it_is_settled_whichever_replica_settles_it(shop: Shop) -> None:
    feed = Feed(shop.store)
    others = [Payments(SqlStore(shop.db), shop.acquirer, shop.clock) for _ in range(3)]
    async with asyncio.timeout(20), repeating(feed.look, 0.01, "feed"), asyncio.TaskGroup() as group:
        stream = group.create_task(_take(feed, 0, 60))
        for other in others:
            for _ in range(20):
                group.create_task(other.process(CHARGE))
    assert [p.cursor for p in stream.result()] == list(range(1, 61))
    assert {p.id for p in stream.result()} == set(range(1, 61))


async def test_it_resumes_after_any_cursor(shop: Shop) -> None:
    for _ in range(5):
        await shop.payments.process(CHARGE)
    feed = Feed(shop.store)
    for after in range(5):
        assert [p.cursor for p in await _take(feed, after, 5 - after)] == list(range(after + 1, 6))


async def test_settlements_do_not_wait_for_each_other(shop: Shop) -> None:
    if shop.db.is_sqlite:
        return  # which has one writer at a time
    first, second = [await shop.store.begin(replace(_NEW, key=f"k{n}")) for n in range(2)]
    other = SqlStore(shop.db)
    within = meanwhile(shop.db)

    def settle(connection: sa.Connection) -> None:
        _finish(connection, first.id, outcome_columns(Status.COMPLETED, _DONE, NOW))
        within(asyncio.wait_for(other.finish(second.id, _DONE, NOW), 20))

    await shop.db.write(settle)
    assert [p.id for p in await shop.store.settled(0, 10)] == [first.id, second.id]
    assert await shop.store.last_cursor() == 2


async def test_what_nobody_follows_is_numbered_by_the_sweep(shop: Shop) -> None:
    for _ in range(3):
        await shop.payments.process(CHARGE)
    waiting = sa.select(sa.func.count()).where(table.c.to_number.is_not(None))
    assert await shop.db.read(lambda c: c.scalar(waiting)) == 3
    await shop.payments.sweep()
    assert await shop.db.read(lambda c: c.scalar(waiting)) == 0
    assert [p.cursor for p in await shop.store.settled(0, 10)] == [1, 2, 3]


async def test_what_an_old_replica_numbered_itself_and_what_is_older_stay_as_they_are(shop: Shop) -> None:
    for _ in range(3):
        await shop.payments.process(CHARGE)

    def as_before(c: sa.Connection) -> None:
        c.execute(sa.update(table).where(table.c.id == 1).values(to_number=None))
        c.execute(sa.update(table).where(table.c.id == 2).values(to_number=None, cursor=1))
        c.execute(sa.text("UPDATE payments_feed SET cursor = 1"))

    await shop.db.write(as_before)
    assert [(p.id, p.cursor) for p in await shop.store.settled(0, 10)] == [(2, 1), (3, 2)]
