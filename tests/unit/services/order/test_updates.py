import asyncio
from collections.abc import AsyncIterator

import pytest

from grpcmesh.errors import ResourceExhausted, Unavailable
from services.kit import follow
from services.kit.actor import Actor
from services.kit.background import repeating
from services.order.domain import Buyer, Event, Order, Status
from services.order.updates import Updates

from .conftest import Shop, until

ADMIN = Actor(1, frozenset({"admin"}))


async def _placed(shop: Shop) -> Order:
    return await shop.replica().place(shop.draft(), Buyer())


async def _collect(events: AsyncIterator[Event], into: list[Event]) -> None:
    async for event in events:
        into += [event]  # one by one: a test looks on


async def test_a_stream_tells_every_later_change_whichever_replica_made_it(shop: Shop) -> None:
    order, updates, seen = await _placed(shop), Updates(shop.store), list[Event]()
    async with asyncio.timeout(10), repeating(updates.look, 0.01, "updates"), asyncio.TaskGroup() as group:
        stream = group.create_task(_collect(updates.follow(order, 0), seen))
        for status in (Status.SHIPPED, Status.DELIVERED, Status.REFUNDED):
            await shop.replica().set_status(ADMIN, order.id, status)
        await stream  # REFUNDED ends it
    assert [e.status for e in seen] == [Status.SHIPPED, Status.DELIVERED, Status.DELIVERED, Status.REFUNDED]
    assert [e.cursor for e in seen] == sorted({e.cursor for e in seen})


async def test_a_stream_resumes_after_its_cursor_with_nothing_lost_or_doubled(shop: Shop) -> None:
    order = await _placed(shop)
    await shop.replica().set_status(ADMIN, order.id, Status.CANCELLED)
    order = await shop.store.get(order.id)
    history = list[Event]()
    await _collect(Updates(shop.store).follow(order, 1), history)
    for place, event in enumerate(history[:-1]):
        rest = list[Event]()
        await _collect(Updates(shop.store).follow(order, event.cursor), rest)
        assert rest == history[place + 1 :]
    assert [e.status for e in history] == [
        Status.PENDING,
        Status.CONFIRMED,
        Status.CONFIRMED,
        Status.CANCELLED,
    ]


async def test_a_stream_of_an_order_that_is_over_ends_at_once(shop: Shop) -> None:
    order = await _placed(shop)
    order = await shop.replica().set_status(ADMIN, order.id, Status.CANCELLED)
    seen = list[Event]()
    await _collect(Updates(shop.store).follow(order, 0), seen)
    assert seen == []


async def test_a_batch_smaller_than_the_history_loses_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "READ", 1)
    order = await _placed(shop)
    order = await shop.replica().set_status(ADMIN, order.id, Status.CANCELLED)
    seen = list[Event]()
    await _collect(Updates(shop.store).follow(order, 1), seen)
    assert len(seen) == 4


async def test_a_stream_that_is_cancelled_is_forgotten(shop: Shop) -> None:
    order, updates = await _placed(shop), Updates(shop.store)
    task = asyncio.create_task(_collect(updates.follow(order, 0), []))
    await until(lambda: updates.streams == 1)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert updates.streams == 0


async def test_streams_are_bounded(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow, "MAX_STREAMS", 0)
    with pytest.raises(ResourceExhausted):
        await _collect(Updates(shop.store).follow(await _placed(shop), 0), [])


async def test_a_database_that_goes_away_for_a_while_costs_no_change(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order, seen = await _placed(shop), list[Event]()
    versions, failures, back = shop.store.versions, 0, False

    async def flaky(ids: list[int]) -> object:
        nonlocal failures
        if not back:
            failures += 1
            raise Unavailable("away")
        return await versions(ids)

    monkeypatch.setattr(shop.store, "versions", flaky)
    updates = Updates(shop.store)
    async with asyncio.timeout(10), repeating(updates.look, 0.01, "updates"), asyncio.TaskGroup() as group:
        stream = group.create_task(_collect(updates.follow(order, 0), seen))
        await until(lambda: failures >= 3)  # the stream has read what there is, and waits
        await shop.replica().set_status(ADMIN, order.id, Status.CANCELLED)
        back = True
        await stream
    assert seen[-1].status is Status.CANCELLED
