"""The layer that injects the faults that are set: it delays a call, aborts it, or lets it through."""

import asyncio
from collections.abc import Callable, Container, Iterable, Mapping
from functools import partial
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.call import Method, Purpose, Registrar, ServerCall, ServerLayer
from grpcmesh.errors import Injected, ResourceExhausted, Unavailable
from grpcmesh.fault.fault_pb2_grpc import add_FaultServiceServicer_to_server
from grpcmesh.fault.rules import Faults, Rule

#: The most calls that are held at the same time, since each needs memory.
MOST_HELD = 10_000


class FaultLayer(ServerLayer):
    """Injects faults. While none is set, the cost is one look at an empty dictionary per call.

    Args:
        faults: The faults of this process.
    """

    applies_to = frozenset({Purpose.APPLICATION})

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self._rules = faults.rules
        #: The calls that are held. The result is set when a call is released: whether the process is leaving.
        self._held: dict[asyncio.Future[bool], Rule] = {}
        self._injected: dict[tuple[str, str], int] = {}

    def on_start(self, call: ServerCall) -> None:
        if self._rules:
            self._meet(call)

    def let_go(self, rules: Container[Rule]) -> None:
        """Release the calls that these faults hold, so that they are served. The faults have been cleared."""
        for held, rule in self._held.items():
            if rule in rules and not held.done():
                held.set_result(False)

    def on_drain(self) -> None:
        """End the calls that are held, with an error that says to try another replica."""
        for held in self._held:
            if not held.done():
                held.set_result(True)

    def held_by(self, rule: Rule) -> int:
        """Return how many calls this fault holds."""
        return sum(by is rule for by in self._held.values())

    def register(self, server: Registrar, methods: Callable[[], Iterable[Method]]) -> None:
        """Add `mesh.fault.v1.FaultService`."""
        from grpcmesh.fault.servicer import FaultServicer  # which steers this layer

        registrar: Any = server
        add_FaultServiceServicer_to_server(FaultServicer(self, methods), registrar)

    def state(self) -> Mapping[str, Any]:
        """Return the faults that are set, by pattern."""
        self.faults.expire()
        return {"faults": {pattern: f"{r.fault} ({r.hits} hits)" for pattern, r in self._rules.items()}}

    def metrics(self) -> Iterable[Metric]:
        self.faults.expire()
        injected = CounterMetricFamily(
            "mesh_faults_injected", "Calls affected by injected faults, by kind.", labels=["kind", "method"]
        )
        for labels, count in self._injected.items():
            injected.add_metric(labels, count)
        yield injected
        yield GaugeMetricFamily("mesh_faults_active", "Active injected faults.", value=len(self._rules))
        yield GaugeMetricFamily("mesh_faults_held", "Calls held by injected faults.", value=len(self._held))

    def _meet(self, call: ServerCall) -> None:
        rule = self.faults.decide(call.method)
        if rule is None:
            return
        if rule.fault.delay:
            self._count("delay", call)
            call.hold = partial(self._hold, call, rule)
        else:
            self._abort(call, rule)

    async def _hold(self, call: ServerCall, rule: Rule) -> None:
        if len(self._held) >= MOST_HELD:
            raise ResourceExhausted("more calls are held by faults than this process will hold", None)
        loop = asyncio.get_running_loop()
        held: asyncio.Future[bool] = loop.create_future()
        self._held[held] = rule
        try:
            # Calls that wait for a place when they are released get it at once, one after another.
            async with rule.places:
                leaving = await self._released(held, rule, self.faults.hold_until(rule))
        finally:
            del self._held[held]
        if leaving:
            raise Unavailable("this replica is leaving; try another")
        if self.faults.is_set(rule):
            self._abort(call, rule)

    async def _released(self, held: "asyncio.Future[bool]", rule: Rule, until: float) -> bool:
        """Wait until a call is released, or its fault's delay, duration or lease is over.

        Return whether the process is leaving.
        """
        while not held.done():
            left = self.faults.holds(rule, until)
            if left <= 0 or not self.faults.is_set(rule):
                return False
            await asyncio.wait({held}, timeout=left)
        return held.result()

    def _abort(self, call: ServerCall, rule: Rule) -> None:
        if rule.fault.abort:
            self._count("abort", call)
            raise Injected(rule.fault.abort)

    def _count(self, kind: str, call: ServerCall) -> None:
        labels = (kind, call.method.full_name)  # of this server's own methods: few
        self._injected[labels] = self._injected.get(labels, 0) + 1
