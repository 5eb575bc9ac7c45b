"""The relay of an outbox: delivers the events that are due, and retries failed deliveries later.

Each topic has a loop of its own, so that a receiver that hangs does not delay other receivers' events. Within
a topic, the events of one key are delivered in order, and different keys in parallel. Of several replicas'
relays one at a time owns a key, by a lease in the database. A delivery whose outcome was not recorded is
repeated; the receiver accepts an event once by its id. An event that the receiver refuses for good becomes a
dead letter, which blocks nothing.
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

#: Poll interval for due events in seconds. Events that this process adds itself are looked for at once,
#: or after GATHER seconds, so that events added together share a round: each round costs two transactions.
TICK, GATHER = 1.0, 0.05
#: Seconds between two counts of undelivered events.
COUNT_INTERVAL = 5.0
#: Seconds that one delivery may take.
DEADLINE = 5.0
#: Seconds for which a replica leases a key, and seconds of the lease within which it begins deliveries:
#: the rest is for the last delivery, and to record its outcome.
LEASE, BEGIN_WITHIN = 15.0, 5.0
#: The most keys that a topic's loop delivers at the same time.
WIDTH = 16
#: Backoff of a key in seconds: the first bound, doubled with each attempt up to the last, with jitter.
FIRST_BACKOFF, LAST_BACKOFF = 0.5, 60.0
#: Backoff of a topic, in seconds, when no event at all could be delivered: bounds, as above.
FIRST_PAUSE, LAST_PAUSE = 0.1, 2.0
#: Failed deliveries (about a quarter of an hour) after which a refused event becomes a dead letter. Not
#: at the first: in a rolling upgrade an old replica may refuse what the new ones accept.
PATIENCE = 20
#: Seconds that deliveries in flight get to finish at exit.
GRACE = 3.0


class Undelivered(Exception):  # noqa: N818
    """An event could not be delivered; the text says why."""


class Refused(Undelivered):
    """The receiver works, and will never accept this event."""


@dataclass(frozen=True, slots=True)
class OutboxEvent:
    """An event for another service, delivered at least once and in order per key.

    Args:
        position: Its position in the outbox.
        topic: Names the receiver.
        key: What the event is about, such as an order. The events of one key are delivered in order.
        event_id: Lets the receiver recognize the event when it is delivered again.
        payload: JSON.
        created_at: Unix seconds.
        attempts: The number of failed deliveries of this event or of earlier ones of its key.
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
    """The undelivered events of a topic: their number, and the creation time of the oldest in Unix seconds.

    `dead` is the number of dead letters, which are not among them.
    """

    count: int
    oldest: float
    dead: int = 0


@dataclass(slots=True)
class Outcome:
    """The outcome of a round: delivered events; failed ones, each with the Unix time at which it is due
    again; and dead letters, each with the reason.
    """

    delivered: list[OutboxEvent] = field(default_factory=list)
    failed: list[tuple[OutboxEvent, float]] = field(default_factory=list)
    dead: list[tuple[OutboxEvent, str]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.delivered or self.failed or self.dead)


class Queue(Protocol):
    """The outbox that a relay reads. Each method is at most one transaction."""

    async def take(self, topic: str, now: float, until: float, limit: int) -> Sequence[Sequence[OutboxEvent]]:
        """Lease up to `limit` due keys of a topic until the Unix time `until`.

        Return the events of each key, in order.
        """
        ...

    async def settle(self, outcome: Outcome) -> None:
        """Delete delivered events, schedule the keys of failed ones for the times given, and set dead letters
        aside.
        """
        ...

    async def waiting(self, topics: Collection[str]) -> Mapping[str, Waiting]:
        """Return the undelivered events of each topic. Counts may be capped."""
        ...


Deliver = Callable[[OutboxEvent], Awaitable[object]]


@dataclass(slots=True, eq=False)
class _Line:
    """The loop of one topic."""

    topic: str
    deliver: Deliver
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    #: Held while deliveries are in flight.
    busy: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: Grows back after success, so that a receiver that was down does not get everything at once.
    width: int = WIDTH
    pause: float = FIRST_PAUSE
    failing: bool = False
    delivered: int = 0
    failures: int = 0


class Relay:
    """Delivers an outbox. It is an async context manager; leaving it waits for deliveries in flight.

    Args:
        queue: The outbox.
        receivers: By topic, the function that delivers an event to its receiver. It raises if it could not.
        now: Returns the time in Unix seconds.
        rng: Draws the jitter.
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
        """Look for new events at once. Call it after the commit of the transaction that added them."""
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
            # A delivery that takes longer is abandoned: its lease ends, and another replica delivers it.
            with suppress(TimeoutError):
                async with asyncio.timeout(GRACE):
                    for line in self._lines.values():
                        await line.busy.acquire()
        finally:
            await self._stack.aclose()

    async def _relay(self, line: _Line) -> None:
        """Deliver every event of a topic that is due."""
        pause = GATHER
        while not await self._left_within(pause):
            async with line.busy:
                width = line.width
                taken = await self._round(line)
            if not taken:
                return
            pause = 0.0 if taken == width else GATHER

    async def _round(self, line: _Line) -> int:
        """Deliver at most `line.width` keys in parallel. Return how many were due."""
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
        """Deliver a key's events in order, up to the first that fails.

        A dead letter does not stop the later ones.
        """
        for event in events:
            if self._leaving.is_set() or self._now() > taken_at + BEGIN_WITHIN:
                return
            error = await self._deliver(line, event)
            if error is None:
                outcome.delivered.append(event)
            elif isinstance(error, Refused) and event.attempts + 1 >= PATIENCE:
                _log.error("%s: %s is a dead letter: %s", line.topic, event.event_id, error)
                outcome.dead.append((event, str(error)))
            else:
                backoff = self._jittered(FIRST_BACKOFF, event.attempts, LAST_BACKOFF)
                outcome.failed.append((event, self._now() + backoff))
                return

    async def _deliver(self, line: _Line, event: OutboxEvent) -> Exception | None:
        """Deliver an event. Return the error if that failed, else None."""
        try:
            async with asyncio.timeout(DEADLINE):
                await line.deliver(event)
        except Exception as e:  # any error: this event is retried later, the others go on
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
        # The receiver is down: probe it with one event at a time, with a growing backoff.
        line.width = 1
        pause, line.pause = line.pause, min(2 * line.pause, LAST_PAUSE)
        await self._left_within(self._jittered(pause, 0, LAST_PAUSE))

    async def _left_within(self, seconds: float) -> bool:
        """Wait for this many seconds or until the relay is leaving. Return whether it is leaving."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._leaving.wait()
        return self._leaving.is_set()

    def _jittered(self, first: float, attempts: int, last: float) -> float:
        return float(min(first * 2.0 ** min(attempts, 20), last)) * (0.5 + self._rng.random() / 2)

    async def _count(self) -> None:
        self._waiting = await self._queue.waiting(self._lines)

    def collect(self) -> Iterator[Metric]:
        """Yield the relay's metrics.

        Counts of undelivered events come from the database, so all replicas report the same.
        """
        pending = GaugeMetricFamily(
            "shop_outbox_pending", "Undelivered events, up to 10,000.", labels=["topic"]
        )
        oldest = GaugeMetricFamily(
            "shop_outbox_oldest_seconds", "Age of the oldest undelivered event, in seconds.", labels=["topic"]
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
