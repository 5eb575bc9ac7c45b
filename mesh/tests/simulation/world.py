"""Virtual time, servers with a capacity, and clients that decide as the library does."""

import heapq
import itertools
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import grpc

from grpcmesh.admission import Gate, Priority
from grpcmesh.balancer import Balancer, Endpoint, State
from grpcmesh.balancer.subsetting import Subset
from grpcmesh.breaker import Breaker
from grpcmesh.call import ClientCall, Kind, Method
from grpcmesh.client.machines import CallMachine, Do, LiveAttempt, Rules, Status
from grpcmesh.config import BalancerConfig, RetryConfig
from grpcmesh.errors import Unavailable
from grpcmesh.hedging import Hedging
from grpcmesh.outlier import Outliers
from grpcmesh.retry import RetryBudget, RetryPolicy, settings_of
from grpcmesh.service_config import CircuitBreaker, HedgingPolicy, OutlierDetection
from grpcmesh.status import PUSHBACK_KEY
from grpcmesh.testing.clock import VirtualClock

UNAVAILABLE, DEADLINE = grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED
METHOD = Method.parse("/mesh.testing.PingService/Ping", Kind.UNARY)
#: Seconds that a message takes.
WIRE = 0.0005


class World:
    """A virtual clock and its scheduled events, which run in the order of their times."""

    def __init__(self, seed: int) -> None:
        self.clock = VirtualClock(0.0)
        self.rng = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        """Schedule an event `seconds` from now."""
        heapq.heappush(self._events, (self.clock() + seconds, next(self._numbers), event))

    def run(self, until: float) -> None:
        """Run all events up to this time."""
        while self._events and self._events[0][0] <= until:
            at, _, event = heapq.heappop(self._events)
            self.clock.advance(max(0.0, at - self.clock()))
            event()
        self.clock.advance(max(0.0, until - self.clock()))


@dataclass
class Work:
    """An attempt at a server. `answer` is called once, unless the caller has gone."""

    answer: Callable[[Status | None], None]
    arrived: float
    deadline: float
    gone: bool = False


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
        elif self._gate is not None and (refusal := self._gate.enter(Priority.DEFAULT, 0.0, False)):
            pushback = ((PUSHBACK_KEY, str(int(refusal.retry_after * 1000))),)
            work.answer(Status(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal.cause, trailing=pushback))
        elif not self.hangs:
            self._queue.append(work)
            self._next()

    def _next(self) -> None:
        while self._queue and self._busy < self._places:
            work = self._queue.popleft()
            if work.gone or work.deadline <= self._world.clock():
                self._leave(None)  # cancelled at its deadline
                continue
            self._busy += 1
            seconds = self._world.rng.expovariate(1 / self.seconds)
            self._world.after(seconds, lambda work=work: self._done(work))  # type: ignore[misc]

    def _done(self, work: Work) -> None:
        self._busy -= 1
        self.served += 1
        self._leave(self._world.clock() - work.arrived)
        work.answer(None)
        self._next()

    def _leave(self, latency: float | None) -> None:
        if self._gate is not None:
            self._gate.leave(METHOD.path, latency, False)


@dataclass
class Settings:
    """The clients' settings. Each feature may be off."""

    policy: str = "round_robin"
    outlier_detection: OutlierDetection | None = None
    retry: RetryConfig = field(default_factory=RetryConfig)
    hedging: HedgingPolicy | None = None
    breaker: CircuitBreaker | None = None
    subset: int | None = 20
    timeout: float = 1.0


@dataclass
class Second:
    """The results of calls in one second."""

    calls: int = 0
    good: int = 0
    attempts: int = 0
    latencies: list[float] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        """Return a percentile of the latency of all calls, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


class Client:
    """One client process, with its own balancer, retry budget and outlier detection."""

    def __init__(
        self, world: World, servers: Sequence[Server], settings: Settings, log: list[Second]
    ) -> None:
        self._world, self._settings, self._log = world, settings, log
        clock, rng = world.clock, random.Random(world.rng.random())
        self.outliers = Outliers("ping", settings.outlier_detection, clock, rng)
        config = BalancerConfig(policy=settings.policy, slow_start=0.0)  # type: ignore[arg-type]
        self.balancer = Balancer(config, "ping", clock, rng, self.outliers)
        self.outliers.on_change = self.balancer.rotate
        self.breaker = Breaker("ping", settings.breaker) if settings.breaker else None
        self._budget = RetryBudget(settings.retry)
        hedging = Hedging(settings.hedging, clock) if settings.hedging else None
        policy = RetryPolicy(settings_of(settings.retry), self._budget, rng)
        self._rules = Rules(policy, idempotent=True, resendable=True, hedging=hedging)
        self.endpoints: dict[Endpoint, Server] = {}
        self._connect(servers, Subset(settings.subset, rng))

    def _connect(self, servers: Sequence[Server], subset: Subset) -> None:
        by_address = {f"10.0.{i // 256}.{i % 256}:50051": server for i, server in enumerate(servers)}
        chosen = sorted(subset.choose(list(by_address)))
        self.endpoints = {Endpoint(address): by_address[address] for address in chosen}
        self.balancer.replace(self.endpoints)
        for endpoint in self.endpoints:
            self.balancer.set_state(endpoint, State.READY)

    def follow(self) -> None:
        """Notice which servers are connected now."""
        for endpoint, server in self.endpoints.items():
            self.balancer.set_state(endpoint, State.READY if server.up else State.FAILED)

    def call(self) -> None:
        """Make one call."""
        now = self._world.clock()
        call = ClientCall(METHOD, "ping", now)
        call.deadline = now + self._settings.timeout
        self._budget.called(now)
        Driver(self, self._world, CallMachine(call, self._rules, False), self._log).start()


class Driver:
    """Does what the call machine decides, in the simulated network."""

    def __init__(self, client: Client, world: World, machine: CallMachine, log: list[Second]) -> None:
        self._client, self._world, self._machine, self._log = client, world, machine, log
        self._works: dict[LiveAttempt, Work] = {}

    def start(self) -> None:
        machine = self._machine
        deadline = machine.call.deadline or 0.0
        self._world.after(deadline - self._world.clock(), lambda: self._perform(machine.expire()))
        self._perform(machine.start(self._world.clock()))

    def _perform(self, do: Do) -> None:
        world, machine = self._world, self._machine
        if do is Do.PICK:
            self._attempt()
        elif do is Do.BACKOFF:
            world.after(machine.wait, lambda: self._perform(machine.backoff_over(world.clock())))
        elif do is Do.HEDGE:
            world.after(machine.wait, lambda: self._perform(machine.hedge_due(world.clock())))
        elif do is Do.END:
            self._end()

    def _attempt(self) -> None:
        world, machine, client = self._world, self._machine, self._client
        now = world.clock()
        endpoint = client.balancer.pick(machine.avoid, machine.call, True)
        if endpoint is None:
            self._perform(machine.without_endpoint(now, False, "no endpoint"))
            return
        attempt = LiveAttempt(machine.call, endpoint, machine.call.attempts + 1, now)
        hedge = machine.begun(attempt)
        if self._refused(attempt):
            return
        if hedge is not None:
            world.after(hedge, lambda: self._perform(machine.hedge_due(world.clock())))
        client.outliers.on_start(attempt)
        endpoint.in_flight += 1
        work = Work(lambda status: self._answered(attempt, status), now + WIRE, machine.call.deadline or 0.0)
        self._works[attempt] = work
        world.after(WIRE, lambda: client.endpoints[endpoint].take(work))

    def _refused(self, attempt: LiveAttempt) -> bool:
        """Return whether the circuit breaker refuses the attempt, which ends the call."""
        if self._client.breaker is None:
            return False
        try:
            self._client.breaker.on_start(attempt)
        except Unavailable as e:
            now = self._world.clock()
            attempt.end(Status(UNAVAILABLE, e.message, final=True), now)
            self._perform(self._machine.attempt_ended(attempt, now))
            return True
        return False

    def _answered(self, attempt: LiveAttempt, status: Status | None) -> None:
        self._world.after(WIRE, lambda: self._ended(attempt, status))

    def _ended(self, attempt: LiveAttempt, status: Status | None) -> None:
        now = self._world.clock()
        if not attempt.end(status, now):
            return
        attempt.endpoint.in_flight -= 1
        if self._client.breaker is not None:
            self._client.breaker.on_end(attempt)
        self._client.outliers.on_end(attempt)
        policy = self._client.balancer.policy
        if policy.wants_latency:
            policy.ended(attempt.endpoint, now - attempt.started, status is None)
        self._perform(self._machine.attempt_ended(attempt, now))

    def _end(self) -> None:
        machine, now = self._machine, self._world.clock()
        for attempt in tuple(machine.live):
            self._works[attempt].gone = True
            code = machine.status.code if machine.status else grpc.StatusCode.CANCELLED
            self._ended(attempt, Status(code, "abandoned", final=True))
        second = self._log[min(int(machine.call.started), len(self._log) - 1)]
        second.calls += 1
        second.good += machine.status is None
        second.attempts += machine.call.attempts
        second.latencies.append(now - machine.call.started)
