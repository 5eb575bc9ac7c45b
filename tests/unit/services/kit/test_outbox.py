"""The outbox on a real database: what two replicas' relays may do to each other's rows."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from sqlalchemy import Connection

from services.kit import outbox
from services.kit.db import Database
from services.kit.outbox import PER_KEY, SqlQueue
from services.kit.relay import OutboxEvent, Outcome, Relay, Waiting
from tests.databases import Maker, meanwhile

NOW = 1_767_225_600.0


@pytest.fixture
async def pair(new_databases: Maker) -> AsyncIterator[tuple[Database, Database]]:
    """Two replicas' connections to the database of a service that has an outbox."""
    url = new_databases("order").url("order")
    async with AsyncExitStack() as stack:
        one, two = [await stack.enter_async_context(Database.open(url, "order")) for _ in "ab"]
        yield one, two


async def _add(db: Database, key: str, *names: str, topic: str = "a", now: float = NOW) -> None:
    rows = [outbox.row(topic, key, name, {"name": name}, now) for name in names]
    await db.write(lambda connection: outbox.add_all(connection, rows))


async def _take(db: Database, now: float = NOW, limit: int = 100, topic: str = "a") -> list[OutboxEvent]:
    return [e for events in await SqlQueue(db).take(topic, now, now + 10, limit) for e in events]


def _names(events: list[OutboxEvent]) -> list[str]:
    return [event.event_id for event in events]


async def test_events_come_in_order_with_what_was_written(pair: tuple[Database, Database]) -> None:
    await _add(pair[0], "x", "x0", "x1")
    await _add(pair[0], "y", "y0", topic="b")
    first, second = await _take(pair[0])
    assert (first.event_id, first.key, first.payload, first.created_at) == ("x0", "x", {"name": "x0"}, NOW)
    assert second.position > first.position
    assert _names(await _take(pair[0], topic="b")) == ["y0"]


async def test_a_transaction_that_fails_takes_its_events_with_it(pair: tuple[Database, Database]) -> None:
    def fail(connection: Connection) -> None:
        outbox.add(connection, "a", "x", "x0", {}, NOW)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await pair[0].write(fail)
    assert await _take(pair[0]) == []


async def test_a_key_belongs_to_one_replica_until_its_lease_ends(pair: tuple[Database, Database]) -> None:
    await _add(pair[0], "x", "x0", "x1")
    assert _names(await _take(pair[0])) == ["x0", "x1"]
    await _add(pair[0], "x", "x2")
    assert await _take(pair[1], NOW + 9) == []
    assert _names(await _take(pair[1], NOW + 10)) == ["x0", "x1", "x2"]


async def test_two_replicas_that_look_at_once_share_the_keys(pair: tuple[Database, Database]) -> None:
    for n in range(30):
        await _add(pair[0], f"k{n}", f"k{n}")
    taken = await asyncio.gather(*(_take(pair[n % 2], limit=10) for n in range(8)))
    names = [name for events in taken for name in _names(events)]
    assert len(names) == len(set(names)) > 0


async def test_what_was_delivered_is_gone_and_what_failed_waits(pair: tuple[Database, Database]) -> None:
    await _add(pair[0], "x", "x0", "x1", "x2")
    first, second, _ = await _take(pair[0])
    await SqlQueue(pair[0]).settle(Outcome([first], [(second, NOW + 100)]))
    await _add(pair[0], "x", "x3")
    assert await _take(pair[1], NOW + 99) == []
    left = await _take(pair[1], NOW + 100)
    assert _names(left) == ["x1", "x2", "x3"]
    assert left[0].attempts == 1


async def test_a_dead_letter_is_kept_with_its_reason_and_nothing_waits_for_it(
    pair: tuple[Database, Database],
) -> None:
    await _add(pair[0], "x", "x0", "x1", "x2")
    first, second, third = await _take(pair[0])
    outcome = Outcome([first], [(third, NOW + 5)], [(second, "INVALID_ARGUMENT: " + "no " * 500)])
    await SqlQueue(pair[0]).settle(outcome)
    await _add(pair[0], "x", "x3")
    assert await SqlQueue(pair[1]).waiting("a") == {"a": Waiting(2, NOW, 1)}
    assert _names(await _take(pair[1], NOW + 5)) == ["x2", "x3"]
    assert _names(await _take(pair[1], NOW + 10**9)) == ["x2", "x3"]
    (dead,) = await outbox.dead_letters(pair[1])
    assert (dead.event_id, dead.topic, dead.key) == ("x1", "a", "x")
    assert dead.refused.startswith("INVALID_ARGUMENT: no no")


async def test_a_dead_letter_that_is_put_back_is_delivered_next(pair: tuple[Database, Database]) -> None:
    await _add(pair[0], "x", "x0")
    await SqlQueue(pair[0]).settle(Outcome(dead=[(e, "no") for e in await _take(pair[0])]))
    assert await SqlQueue(pair[0]).waiting("a") == {"a": Waiting(0, 0.0, 1)}
    assert await outbox.put_back(pair[1], NOW) == 1
    assert await outbox.dead_letters(pair[1]) == []
    assert [(e.event_id, e.attempts) for e in await _take(pair[0])] == [("x0", 0)]
    assert await outbox.put_back(pair[1], NOW) == 0


async def test_a_late_settlement_takes_nothing_new_away(pair: tuple[Database, Database]) -> None:
    await _add(pair[0], "x", "x0")
    late = await _take(pair[0])
    await SqlQueue(pair[1]).settle(Outcome(await _take(pair[1], NOW + 10)))
    await _add(pair[1], "x", "x1")
    await SqlQueue(pair[0]).settle(Outcome(late))
    assert _names(await _take(pair[1], NOW + 10)) == ["x1"]


async def test_a_key_with_many_events_is_taken_in_pieces(pair: tuple[Database, Database]) -> None:
    names = [f"{n:03}" for n in range(PER_KEY + 5)]
    await _add(pair[0], "x", *names)
    piece = await _take(pair[0])
    assert _names(piece) == names[:PER_KEY]
    await SqlQueue(pair[0]).settle(Outcome(piece))
    assert _names(await _take(pair[0])) == names[PER_KEY:]


async def test_those_that_wait_longest_are_taken_first(pair: tuple[Database, Database]) -> None:
    for n in (3, 1, 2):
        await _add(pair[0], f"k{n}", f"k{n}", now=NOW + n)
    assert _names(await _take(pair[0], NOW + 5, limit=1)) == ["k1"]


async def test_what_waits_is_counted(pair: tuple[Database, Database]) -> None:
    await _add(pair[0], "x", "x0", now=NOW - 5)
    await _add(pair[0], "x", "x1")
    await _add(pair[0], "y", "y0", topic="b")
    assert await SqlQueue(pair[0]).waiting("ab") == {"a": Waiting(2, NOW - 5), "b": Waiting(1, NOW)}


async def test_a_look_that_finds_nothing_takes_no_lock(pair: tuple[Database, Database]) -> None:
    wait = meanwhile(pair[1])

    def add_and_look(connection: Connection) -> list[OutboxEvent]:
        outbox.add(connection, "a", "x", "x0", {}, NOW)
        return wait(_take(pair[0]))

    async with asyncio.timeout(60):
        assert await pair[1].write(add_and_look) == []


async def test_two_relays_deliver_what_is_added_meanwhile_once_and_in_order(
    pair: tuple[Database, Database],
) -> None:
    told: dict[str, list[int]] = {f"k{n}": [] for n in range(10)}

    async def deliver(event: OutboxEvent) -> None:
        await asyncio.sleep(0)
        told[event.key].append(int(event.payload["name"]))

    async with asyncio.timeout(20), AsyncExitStack() as stack:
        relays = [
            await stack.enter_async_context(Relay(SqlQueue(db), {"a": deliver}, time.time)) for db in pair
        ]
        for n in range(20):
            for key in told:
                await _add(random.choice(pair), key, str(n), now=time.time())
            random.choice(relays).wake()
        while (await SqlQueue(pair[0]).waiting("a"))["a"].count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert told == {key: list(range(20)) for key in told}
