"""The relay's logic in virtual time, over an outbox in memory."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grpcmesh.errors import Unavailable
from grpcmesh.testing.clock import run_in_virtual_time
from services.kit import relay as module
from services.kit.relay import DEADLINE, LEASE, OutboxEvent, Outcome, Refused, Relay, Undelivered, Waiting


@dataclass
class Memory:
    """An outbox without a database; several relays may share it, as replicas do."""

    rows: list[OutboxEvent] = field(default_factory=list)
    due: dict[int, float] = field(default_factory=dict)
    #: Settlements that are lost: the process died before it, or the database was away.
    crashes: int = 0
    dead: list[str] = field(default_factory=list)
    widest: int = 0

    def add(self, topic: str, key: str, *names: str) -> None:
        for name in names:
            position = max(self.due, default=0) + 1
            self.rows.append(OutboxEvent(position, topic, key, name, {}, _now()))
            self.due[position] = _now()

    async def take(self, topic: str, now: float, until: float, limit: int) -> Sequence[Sequence[OutboxEvent]]:
        first: dict[str, OutboxEvent] = {}
        for event in self.rows:
            if event.topic == topic:
                first.setdefault(event.key, event)
        free = [e for e in first.values() if self.due[e.position] <= now][:limit]
        self.due |= {e.position: until for e in free}
        self.widest = max(self.widest, len(free))
        return [[e for e in self.rows if e.topic == topic and e.key == head.key] for head in free]

    async def settle(self, outcome: Outcome) -> None:
        if self.crashes:
            self.crashes -= 1
            raise Unavailable("the database is away")
        self.dead += [event.event_id for event, _ in outcome.dead]
        done = {event.position for event in outcome.delivered} | {e.position for e, _ in outcome.dead}
        self.rows = [e for e in self.rows if e.position not in done]
        for event, due in outcome.failed:
            self.due[event.position] = due
            later = event.attempts + 1
            self.rows = [replace(e, attempts=later) if e.key == event.key else e for e in self.rows]

    async def waiting(self, topics: Collection[str]) -> Mapping[str, Waiting]:
        counts = Counter(event.topic for event in self.rows)
        dead = len(self.dead)
        return {topic: Waiting(n, min(e.created_at for e in self.rows), dead) for topic, n in counts.items()}


@dataclass
class Receiver:
    """Takes an event once by its id, and remembers how often and when it was told."""

    queue: Memory
    told: list[tuple[str, float]] = field(default_factory=list)
    taken: dict[str, None] = field(default_factory=dict)
    away: bool = False
    hangs: set[str] = field(default_factory=set)
    refuses: set[str] = field(default_factory=set)
    poison: set[str] = field(default_factory=set)
    seconds: float = 0.01
    at_once: int = 0

    async def __call__(self, event: OutboxEvent) -> None:
        self.told.append((event.event_id, _now()))
        self.at_once += 1
        try:
            if self.hangs & {event.event_id, event.key, "*"}:
                await asyncio.Event().wait()
            await asyncio.sleep(self.seconds)
        finally:
            self.at_once -= 1
        if event.event_id in self.poison:
            raise Refused("INVALID_ARGUMENT: never")
        if self.away or event.event_id in self.refuses:
            raise Undelivered("UNAVAILABLE: away")
        self.taken.setdefault(event.event_id)

    def times(self, event_id: str) -> list[float]:
        return [at for told, at in self.told if told == event_id]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _relay(queue: Memory, **receivers: Receiver) -> Relay:
    return Relay(queue, receivers, _now, random.Random(1))


async def _until(condition: Any, seconds: float) -> float:
    """Waits in virtual time; how long it took."""
    began = _now()
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return _now() - began


def _in_virtual_time(test: Coroutine[Any, Any, None]) -> None:
    run_in_virtual_time(test)


def test_events_of_a_key_are_told_in_order_and_forgotten() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue)
        async with _relay(queue, a=receiver):
            for key in "xyz":
                queue.add("a", key, *(f"{key}{n}" for n in range(5)))
            await _until(lambda: not queue.rows, 10)
        for key in "xyz":
            assert [e for e, _ in receiver.told if e[0] == key] == [f"{key}{n}" for n in range(5)]

    _in_virtual_time(run())


def test_what_this_process_adds_is_told_at_once() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue)
        async with _relay(queue, a=receiver) as relay:
            await asyncio.sleep(5)
            queue.add("a", "x", "x0")
            relay.wake()
            assert await _until(lambda: not queue.rows, 10) < 0.1

    _in_virtual_time(run())


def test_what_another_process_left_is_told_at_the_next_tick() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue)
        async with _relay(queue, a=receiver):
            queue.add("a", "x", "x0")
            assert await _until(lambda: not queue.rows, 10) < 2 * module.TICK

    _in_virtual_time(run())


def test_a_topic_that_hangs_delays_no_other() -> None:
    async def run() -> None:
        queue = Memory()
        stuck, fine = Receiver(queue, hangs={"*"}), Receiver(queue)
        async with _relay(queue, stuck=stuck, fine=fine) as relay:
            for n in range(50):
                queue.add("stuck", f"k{n}", f"s{n}")
                queue.add("fine", f"k{n}", f"f{n}")
                relay.wake()
                assert await _until(lambda n=n: f"f{n}" in fine.taken, 10) < 0.2
                await asyncio.sleep(1)
            assert stuck.at_once <= 1  # it is asked with one event at a time whether it is back
            stuck.hangs.clear()
            await _until(lambda: len(stuck.taken) == 50, 200)

    _in_virtual_time(run())


def test_an_event_that_is_refused_holds_up_its_key_only_and_ever_less_often() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, refuses={"bad1"})
        async with _relay(queue, a=receiver) as relay:
            queue.add("a", "bad", "bad0", "bad1", "bad2")
            for n in range(300):
                queue.add("a", f"k{n}", f"k{n}")
                relay.wake()
                await asyncio.sleep(1)
            assert {f"k{n}" for n in range(299)} <= receiver.taken.keys()
            assert "bad2" not in receiver.taken
            attempts = receiver.times("bad1")
            assert len(attempts) < 20
            pauses = [b - a for a, b in itertools.pairwise(attempts)]
            assert pauses[-1] > 25 > 3 > pauses[0]
            receiver.refuses.clear()
            await _until(lambda: not queue.rows, 100)
        assert [e for e in receiver.taken if e.startswith("bad")] == ["bad0", "bad1", "bad2"]

    _in_virtual_time(run())


def test_an_event_that_is_refused_for_good_is_a_dead_letter_after_a_while_and_holds_up_nothing_more() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, poison={"bad1", "bad3"})
        async with _relay(queue, a=receiver) as relay:
            queue.add("a", "bad", "bad0", "bad1", "bad2")
            took = await _until(lambda: queue.dead == ["bad1"], 3600)
            assert len(receiver.times("bad1")) == module.PATIENCE
            assert 5 * 60 < took < 20 * 60  # a rolling upgrade is over by then
            queue.add("a", "bad", "bad3", "bad4")
            relay.wake()
            await _until(lambda: not queue.rows, 3600)
        assert queue.dead == ["bad1", "bad3"]
        assert [*receiver.taken] == ["bad0", "bad2", "bad4"]

    _in_virtual_time(run())


def test_a_receiver_that_comes_back_gets_everything_in_order() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, away=True)
        async with _relay(queue, a=receiver) as relay:
            for n in range(100):
                queue.add("a", f"k{n}", *(f"k{n}-{i}" for i in range(3)))
            relay.wake()
            await asyncio.sleep(120)
            assert len(receiver.told) < 120 / module.LAST_PAUSE * 3  # it is not pestered meanwhile
            receiver.away = False
            await _until(lambda: not queue.rows, 2 * module.LAST_BACKOFF)
        for n in range(100):
            assert [e for e in receiver.taken if e.startswith(f"k{n}-")] == [f"k{n}-{i}" for i in range(3)]

    _in_virtual_time(run())


def test_a_crash_between_delivery_and_deletion_delivers_again_and_it_is_taken_once() -> None:
    async def run() -> None:
        queue = Memory(crashes=1)
        receiver = Receiver(queue)
        async with _relay(queue, a=receiver):
            queue.add("a", "x", "x0", "x1")
            await _until(lambda: not queue.rows, 2 * LEASE)
        assert [e for e, _ in receiver.told] == ["x0", "x1", "x0", "x1"]
        assert list(receiver.taken) == ["x0", "x1"]
        first, second = receiver.times("x0")
        assert second - first >= LEASE  # nobody touched it while it was leased

    _in_virtual_time(run())


def test_two_replicas_never_deliver_a_key_at_the_same_time() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, seconds=0.3)
        async with _relay(queue, a=receiver), _relay(queue, a=receiver):
            for n in range(40):
                queue.add("a", f"k{n % 10}", f"{n}")
            await _until(lambda: not queue.rows, 60)
        assert Counter(e for e, _ in receiver.told).most_common(1)[0][1] == 1

    _in_virtual_time(run())


def test_deliveries_at_a_time_are_bounded_and_grow_again_after_trouble() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, away=True)
        async with _relay(queue, a=receiver) as relay:
            for n in range(500):
                queue.add("a", f"k{n}", f"e{n}")
            relay.wake()
            await asyncio.sleep(10)
            receiver.away, queue.widest = False, 0
            await _until(lambda: not queue.rows, 200)
        assert queue.widest == module.WIDTH

    _in_virtual_time(run())


def test_no_delivery_is_begun_that_could_outlast_the_lease() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, seconds=DEADLINE - 0.1)
        async with _relay(queue, a=receiver), _relay(queue, a=receiver):
            queue.add("a", "x", *(f"x{n}" for n in range(6)))
            await _until(lambda: not queue.rows, 100)
        assert [e for e, _ in receiver.told] == [f"x{n}" for n in range(6)]

    _in_virtual_time(run())


def test_leaving_finishes_what_is_under_way_and_begins_nothing_more() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, seconds=1.0)
        async with _relay(queue, a=receiver) as relay:
            queue.add("a", "x", "x0", "x1")
            relay.wake()
            await asyncio.sleep(0.5)
        assert list(receiver.taken) == ["x0"]
        assert [e.event_id for e in queue.rows] == ["x1"]

    _in_virtual_time(run())


def test_leaving_does_not_wait_for_a_receiver_that_hangs() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, hangs={"*"})
        async with _relay(queue, a=receiver) as relay:
            queue.add("a", "x", "x0")
            relay.wake()
            await asyncio.sleep(0.5)
            began = _now()
        assert _now() - began < module.GRACE + 0.1
        assert [e.event_id for e in queue.rows] == ["x0"]

    _in_virtual_time(run())


def test_the_metrics_tell_what_waits_was_delivered_and_failed() -> None:
    async def run() -> None:
        queue = Memory()
        receiver = Receiver(queue, refuses={"bad"})
        async with _relay(queue, a=receiver) as relay:
            queue.add("a", "x", "good", "bad")
            await asyncio.sleep(60)
            told = {s.name: s.value for family in relay.collect() for s in family.samples}
        assert told["shop_outbox_pending"] == told["shop_outbox_delivered_total"] == 1
        assert told["shop_outbox_failures_total"] > 1
        assert told["shop_outbox_oldest_seconds"] >= 60

    _in_virtual_time(run())
