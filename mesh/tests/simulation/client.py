"""Clients that decide as the library does, and what carries their decisions out in the simulated network."""

import random
from collections.abc import Mapping, Sequence

import grpc

from grpcmesh.admission import Priority
from grpcmesh.balancer import Balancer, Endpoint, State
from grpcmesh.balancer.subsetting import Subset
from grpcmesh.breaker import Breaker
from grpcmesh.call import ClientCall
from grpcmesh.client.machines import CallMachine, Do, LiveAttempt, Rules, Status
from grpcmesh.config import BalancerConfig
from grpcmesh.errors import Unavailable
from grpcmesh.hedging import Hedging
from grpcmesh.outlier import Outliers
from grpcmesh.retry import RetryBudget, RetryPolicy, settings_of
from grpcmesh.service_config import LoadBalancing
from tests.simulation.server import UNAVAILABLE, Server, Work
from tests.simulation.world import HOME, METHOD, WIRE, Second, Settings, World


class Client:
    """One client process, with its own balancer, retry budget and outlier detection."""

    def __init__(
        self, world: World, servers: Sequence[Server], settings: Settings, log: list[Second]
    ) -> None:
        self._world, self._settings, self._log = world, settings, log
        clock, rng = world.clock, random.Random(world.rng.random())
        self.outliers = Outliers("ping", settings.outlier_detection, clock, rng)
        config = BalancerConfig(slow_start=0.0, zone=settings.zone)
        balancing = LoadBalancing(settings.policy, settings.parameters)
        self.balancer = Balancer(config, "ping", clock, rng, self.outliers, balancing)
        self.outliers.on_change = self.balancer.rotate
        self.breaker = Breaker("ping", settings.breaker) if settings.breaker else None
        self._budget = RetryBudget(settings.retry)
        hedging = Hedging(settings.hedging, clock) if settings.hedging else None
        policy = RetryPolicy(settings_of(settings.retry), self._budget, rng)
        self._rules = Rules(policy, idempotent=True, resendable=True, hedging=hedging)
        #: Whether servers are told which calls are critical.
        self.priorities = settings.priorities
        self._made = 0
        self._subset = Subset(settings.subset, rng)
        self.endpoints: dict[Endpoint, Server] = {}
        self.resolve({f"10.0.{i // 256}.{i % 256}:50051": server for i, server in enumerate(servers)})

    def resolve(self, servers: Mapping[str, Server]) -> int:
        """Replace the resolved servers. Return the number of connections that this opens."""
        kept = {endpoint.address: endpoint for endpoint in self.endpoints}
        chosen = sorted(self._subset.choose(list(servers)))
        self.endpoints = {kept.get(a) or Endpoint(a, servers[a].zone): servers[a] for a in chosen}
        self.balancer.replace(self.endpoints)
        opened = [endpoint for endpoint in self.endpoints if endpoint.address not in kept]
        for endpoint in opened:
            self.balancer.set_state(endpoint, State.READY)
        return len(opened)

    def follow(self) -> None:
        """Notice which servers are connected now."""
        for endpoint, server in self.endpoints.items():
            self.balancer.set_state(endpoint, State.READY if server.up else State.FAILED)

    def call(self) -> None:
        """Make one call."""
        now = self._world.clock()
        call = ClientCall(METHOD, "ping", now)
        call.deadline = now + self._settings.timeout
        if self._settings.keys:
            call.metadata.append(("user", str(self._world.rng.randrange(self._settings.keys))))
        self._budget.called(now)
        self._made += 1
        driver = Driver(self, self._world, CallMachine(call, self._rules, False), self._log)
        driver.critical = self._made % 10 == 0
        driver.start()


class Driver:
    """Does what the call machine decides, in the simulated network."""

    def __init__(self, client: Client, world: World, machine: CallMachine, log: list[Second]) -> None:
        self._client, self._world, self._machine, self._log = client, world, machine, log
        self._works: dict[LiveAttempt, Work] = {}
        self.critical = False

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
        server = client.endpoints[endpoint]
        self._second.near += endpoint.zone == HOME
        for _, key in machine.call.metadata:
            self._second.hits += server.hit(str(key))
        deadline = machine.call.deadline or 0.0
        work = Work(lambda status: self._answered(attempt, status, server), now + WIRE, deadline)
        if self.critical and client.priorities:
            work.priority = Priority.CRITICAL
        self._works[attempt] = work
        world.after(WIRE, lambda: server.take(work))

    @property
    def _second(self) -> Second:
        """Return the second in which the call began."""
        return self._log[min(int(self._machine.call.started), len(self._log) - 1)]

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

    def _answered(self, attempt: LiveAttempt, status: Status | None, server: Server) -> None:
        if status is None and self._client.balancer.policy.wants_reports:
            report = server.reporter.current()
            self._world.after(WIRE, lambda: self._client.balancer.reported(attempt.endpoint, report))
        self._world.after(WIRE, lambda: self._ended(attempt, status))

    def _ended(self, attempt: LiveAttempt, status: Status | None) -> None:
        now = self._world.clock()
        if not attempt.end(status, now):
            return
        attempt.endpoint.in_flight -= 1
        if self._client.breaker is not None:
            self._client.breaker.on_end(attempt)
        self._client.outliers.on_end(attempt)
        balancer = self._client.balancer
        if balancer.policy.wants_latency:
            balancer.policy.ended(attempt.endpoint, now - attempt.started, status is None)
        self._perform(self._machine.attempt_ended(attempt, now))

    def _end(self) -> None:
        machine, now = self._machine, self._world.clock()
        for attempt in tuple(machine.live):
            self._works[attempt].gone = True
            code = machine.status.code if machine.status else grpc.StatusCode.CANCELLED
            self._ended(attempt, Status(code, "abandoned", final=True))
        second = self._second
        second.calls += 1
        second.good += machine.status is None
        second.critical += self.critical
        second.critical_good += self.critical and machine.status is None
        second.attempts += machine.call.attempts
        second.latencies.append(now - machine.call.started)
