import asyncio
from dataclasses import replace

from services.kit.background import repeating
from services.payment.domain import Charge, Instrument, Method, Payment, Wallet
from services.payment.feed import Feed
from services.payment.payments import Payments
from services.payment.storage import SqlStore

from .conftest import Shop

CHARGE = Charge(1, 7, 100, None, Instrument(Method.DIGITAL_WALLET, Wallet("user-1", "meshmart")))
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
