"""Servers with a capacity: places, a queue before them, and admission."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import grpc

from grpcmesh.admission import Gate, Priority
from grpcmesh.balancer import LoadReporter
from grpcmesh.call import ServerCall
from grpcmesh.client.machines import Status
from grpcmesh.status import PUSHBACK_KEY
from tests.simulation.world import METHOD, World

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
#: Keys that a server keeps.
CACHE = 100


@dataclass
class Work:
    """An attempt at a server. `answer` is called once, unless the caller has gone."""

    answer: Callable[[Status | None], None]
    arrived: float
    deadline: float
    gone: bool = False
    priority: Priority = Priority.DEFAULT


class Server:
    """A server with a number of places, each of which is busy for as long as a call takes.

    Args:
        places: Calls that it handles at a time.
        seconds: Mean duration of a call. Durations are exponentially distributed.
        gate: Admission. If None, every call is accepted.
    """

    def __init__(self, world: World, places: int, seconds: float, gate: Gate | None = None) -> None:
        self._world, self._places, self.seconds, self._gate = world, places, seconds, gate
        self.up = True
        #: The status that it answers with instead of working. None if it works.
        self.fails: Status | None = None
        #: Whether it accepts calls and answers none.
        self.hangs = False
        self.zone = ""
        #: What it keeps, by key: the keys that were used last.
        self._cache: dict[str, None] = {}
        self._used = 0.0
        #: The library's own reports, of the share of its places that are busy.
        self.reporter = LoadReporter(world.clock, lambda: self._used, interval=0.5)
        self.served = self.attempts = 0
        self._busy = 0
        self._queue: deque[Work] = deque()

    def take(self, work: Work) -> None:
        """Handle an attempt that arrives."""
        self.attempts += 1
        if not self.up:
            work.answer(Status(UNAVAILABLE, "down", unsent=True))
        elif self.fails is not None:
            work.answer(self.fails)
        elif self._gate is not None and (refusal := self._gate.enter(work.priority, 0.0, False)):
            pushback = ((PUSHBACK_KEY, str(int(refusal.retry_after * 1000))),)
            work.answer(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal.cause, trailing=pushback))
        elif not self.hangs:
            self._queue.append(work)
            self._next()

    def hit(self, key: str) -> bool:
        """Return whether the key is in the cache. It is from now on."""
        found = key in self._cache
        self._cache.pop(key, None)
        self._cache[key] = None
        if len(self._cache) > CACHE:
            del self._cache[next(iter(self._cache))]
        return found

    def _next(self) -> None:
        while self._queue and self._busy < self._places:
            work = self._queue.popleft()
            if work.gone or work.deadline <= self._world.clock():
                self._leave(None)  # cancelled at its deadline
                continue
            self._busy += 1
            seconds = self._world.rng.expovariate(1 / self.seconds)
            self._used += seconds / self._places
            self._world.after(seconds, lambda work=work: self._done(work))  # type: ignore[misc]

    def _done(self, work: Work) -> None:
        self._busy -= 1
        self.served += 1
        self.reporter.on_end(ServerCall(METHOD, None, work.arrived, {}))
        self._leave(self._world.clock() - work.arrived)
        work.answer(None)
        self._next()

    def _leave(self, latency: float | None) -> None:
        if self._gate is not None:
            self._gate.leave(METHOD.path, latency, False)
