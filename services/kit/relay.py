"""The relay of an outbox: takes what is due, delivers it, and tries again later what could not be.

Each topic has a loop of its own, so that a receiver that hangs holds up nobody else's events. Within a
topic events go out in order per key, keys side by side. Of several replicas' relays one at a time has a
key, by a lease in the database. A delivery whose outcome was not recorded is repeated: the receiver takes
an event once by its id. What it refuses for good is set aside: a dead letter, which holds up nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, Self

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.clock import Clock, Rng, system_rng
from grpcmesh.errors import MeshError
from services.kit.background import repeating

_log = logging.getLogger(__name__)

#: Seconds between two looks for what is due; for what this process added itself it looks at once, or as
#: good as that: what is added within GATHER seconds goes together, as each round costs two transactions.
TICK, GATHER = 1.0, 0.05
#: Seconds between two counts of what waits.
COUNT_INTERVAL = 5.0
#: Seconds that one delivery may take.
DEADLINE = 5.0
#: Seconds for which a key belongs to the replica that took it, and of these the ones in which deliveries
#: are begun: time is left for the last of them, and to record what came of it.
LEASE, BEGIN_WITHIN = 15.0, 5.0
#: Keys that a topic's loop delivers at the same time.
WIDTH = 16
#: Seconds until a key is tried again: the first bound, doubled with each attempt up to the last; jittered.
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 60.0
#: Seconds that a topic pauses when nothing at all could be delivered: bounds, as above.
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0
#: Failed deliveries (about a quarter of an hour) after which an event that is refused is a dead letter. Not
#: at the first: in a rolling upgrade an old replica may refuse what the new ones take.
PATIENCE = 20
#: Seconds that deliveries under way get at exit.
GRACE = 3.0


class Undelivered(Exception):  # noqa: N818
    """An event could not be delivered; the text says why."""


class Refused(Undelivered):
    """The receiver is well, and will not take this event however often it is told."""


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """Something to be told to another service, at least once, in order per key.

    Args:
        position: Its place in the outbox.
        topic: Which receiver.
        key: What it is about, such as an order; events of one key are told in order.
        event_id: By which the receiver knows it again.
        payload: JSON.
        created_at: Unix seconds.
        attempts: Failed deliveries, of this event or of those before it.
    """

    position: int
    topic: str
    key: str
    event_id: str
    payload: Mapping[str, Any]
    created_at: float
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What of a topic is not delivered yet: how many events, and since when (Unix seconds) the oldest; and
    how many dead letters there are beside them."""

    count: int
    oldest: float
    dead: int = 0


@dataclass(slots=True)
class Outcome:
    """What came of a round: what was delivered, what failed and is due again at a time, and what is dead, and
    why."""

    delivered: list[OutboxEvent] = field(default_factory=list)
    failed: list[tuple[OutboxEvent, float]] = field(default_factory=list)
    dead: list[tuple[OutboxEvent, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.delivered or self.failed or self.dead)


class Queue(Protocol):
    """The outbox, as the relay uses it. Each method is at most one transaction."""

    async def take(self, topic: str, now: float, until: float, limit: int) -> Sequence[Sequence[OutboxEvent]]:
        """Leases up to `limit` due keys of a topic until then; their events, in order."""
        ...

    async def settle(self, outcome: Outcome) -> None:
        """Forgets what was delivered; the key of an event that failed is due again at the time given; what is
        dead is kept, and never taken again."""
        ...

    async def waiting(self, topics: Collection[str]) -> Mapping[str, Waiting]:
        """By topic. What is more than the queue cares to count is told as that many."""
        ...


Deliver = Callable[[OutboxEvent], Awaitable[object]]


@dataclass(slots=True, eq=False)
class _Line:
    """One topic's loop."""

    topic: str
    deliver: Deliver
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: Held while events are under way.
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Grows again with success, as a receiver that was away is not to be met by everything at once.
    width: int = WIDTH
    pause: float = FIRST_PAUSE
    failing: bool = False
    delivered: int = 0
    failures: int = 0


class Relay:
    """Delivers an outbox; an async context manager that ends with the deliveries under way.

    Args:
        queue: The outbox.
        receivers: By topic, what tells an event to its receiver. Raises where it could not.
        now: Unix seconds.
        rng: For the waits.
    """

    def __init__(
        self, queue: Queue, receivers: Mapping[str, Deliver], now: Clock, rng: Rng | None = None
    ) -> None:
        self._queue, self._now, self._rng = queue, now, rng or system_rng()
        self._lines = {topic: _Line(topic, deliver) for topic, deliver in receivers.items()}
        self._waiting: Mapping[str, Waiting] = {}
        self._leaving = asyncio.Event()
        self._stack = AsyncExitStack()

    def wake(self) -> None:
        """To be called after the commit of what was added: it is looked for at once."""
        for line in self._lines.values():
            line.wake.set()

    async def __aenter__(self) -> Self:
        for line in self._lines.values():
            name = f"relay of {line.topic}"
            await self._stack.enter_async_context(
                repeating(lambda line=line: self._relay(line), TICK, name, wake=line.wake)  # type: ignore[misc]
            )
        await self._stack.enter_async_context(repeating(self._count, COUNT_INTERVAL, "count of the outbox"))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leaving.set()
        try:
            # What takes longer is given up: its lease ends by itself, and others deliver it.
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    for line in self._lines.values():
                        await line.busy.acquire()
        finally:
            await self._stack.aclose()

    async def _relay(self, line: _Line) -> None:
        """Everything of a topic that is due."""
        pause = GATHER
        while not await self._left_within(pause):
            async with line.busy:
                width = line.width
                taken = await self._round(line)
            if not taken:
                return
            pause = 0.0 if taken == width else GATHER

    async def _round(self, line: _Line) -> int:
        """As many keys as are delivered at the same time; returns how many were due."""
        now = self._now()
        taken = await self._queue.take(line.topic, now, now + LEASE, line.width)
        if not taken:
            return 0
        outcome = Outcome()
        await asyncio.gather(*(self._key(line, events, now, outcome) for events in taken))
        if outcome:
            await self._queue.settle(outcome)
        await self._adapt(line, bool(outcome.delivered or outcome.dead))
        return len(taken)

    async def _key(
        self, line: _Line, events: Sequence[OutboxEvent], taken_at: float, outcome: Outcome
    ) -> None:
        """A key's events, in order, up to the first that fails; a dead letter is passed over."""
        for event in events:
            if self._leaving.is_set() or self._now() > taken_at + BEGIN_WITHIN:
                return
            error = await self._told(line, event)
            if error is None:
                outcome.delivered.append(event)
            elif isinstance(error, Refused) and event.attempts + 1 >= PATIENCE:
                _log.error("%s: %s is a dead letter: %s", line.topic, event.event_id, error)
                outcome.dead.append((event, str(error)))
            else:
                backoff = self._jittered(FIRST_BACKOFF, event.attempts, LAST_BACKOFF)
                outcome.failed.append((event, self._now() + backoff))
                return

    async def _told(self, line: _Line, event: OutboxEvent) -> Exception | None:
        """Why it could not be delivered, or None."""
        try:
            async with asyncio.timeout(DEADLINE):
                await line.deliver(event)
        except Exception as e:  # whatever it is, this event is to be delivered later, and others now
            line.failures += 1
            if not line.failing:
                _log.warning("%s: %s cannot be delivered: %s", line.topic, event.event_id, _why(e))
            line.failing = True
            return e
        line.delivered += 1
        return None

    async def _adapt(self, line: _Line, success: bool) -> None:
        if success:
            if line.failing:
                _log.warning("%s: events are delivered again", line.topic)
            line.failing, line.pause, line.width = False, FIRST_PAUSE, min(2 * line.width, WIDTH)
            return
        # The receiver is away: find out with one event whether it is back, and ever less often.
        line.width = 1
        pause, line.pause = line.pause, min(2 * line.pause, LAST_PAUSE)
        await self._left_within(self._jittered(pause, 0, LAST_PAUSE))

    async def _left_within(self, seconds: float) -> bool:
        """Waits so long, or until the relay is to leave: whether it is."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        return self._leaving.is_set()

    def _jittered(self, first: float, attempts: int, last: float) -> float:
        return float(min(first * 2.0 ** min(attempts, 20), last)) * (0.5 + self._rng.random() / 2)

    async def _count(self) -> None:
        self._waiting = await self._queue.waiting(self._lines)

    def collect(self) -> Iterator[Metric]:
        """Metrics. What waits is the same at each replica: it is the database's."""
        pending = GaugeMetricFamily(
            "shop_outbox_pending", "Undelivered events, up to 10,000.", labels=["topic"]
        )
        oldest = GaugeMetricFamily(
            "shop_outbox_oldest_seconds", "Age of the oldest of these events.", labels=["topic"]
        )
        dead = GaugeMetricFamily(
            "shop_outbox_dead", "Events that their receiver refused for good.", labels=["topic"]
        )
        delivered = CounterMetricFamily("shop_outbox_delivered", "Events delivered.", labels=["topic"])
        failures = CounterMetricFamily(
            "shop_outbox_failures", "Deliveries that failed and are repeated.", labels=["topic"]
        )
        for line in self._lines.values():
            waiting, now = self._waiting.get(line.topic), self._now()
            pending.add_metric([line.topic], waiting.count if waiting else 0)
            late = now - waiting.oldest if waiting and waiting.count else 0.0
            oldest.add_metric([line.topic], max(late, 0.0))
            dead.add_metric([line.topic], waiting.dead if waiting else 0)
            delivered.add_metric([line.topic], line.delivered)
            failures.add_metric([line.topic], line.failures)
        yield from (pending, oldest, dead, delivered, failures)


def _why(error: Exception) -> str:
    return str(error) if isinstance(error, Undelivered | MeshError) else repr(error)
