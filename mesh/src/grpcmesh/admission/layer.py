"""The layer of the server's stack that applies the gate, and computes the age of calls."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.admission.gate import Gate
from grpcmesh.admission.limit import ConcurrencyLimit
from grpcmesh.admission.priority import Priority
from grpcmesh.admission.queue import QueueAdmission
from grpcmesh.bad_values import bad_values
from grpcmesh.call import Connections, Kind, Method, Purpose, Registrar, ServerCall, ServerLayer
from grpcmesh.clock import Clock, monotonic
from grpcmesh.config import AdmissionConfig
from grpcmesh.errors import ResourceExhausted
from grpcmesh.status import REFUSED_KEY, TIMEOUT_KEY

_CAUSES = {
    "queue": "calls queue too long before they are served",
    "concurrency": "too many calls are being served",
    "streams": "too many streams are open",
    "memory": "the messages of all calls would take too much memory",
}


class AdmissionLayer(ServerLayer):
    """Refuses calls that the server cannot serve in time, with RESOURCE_EXHAUSTED and pushback (gRFC A6).

    Args:
        config: Limits and priorities.
        message_bytes: Bytes of the largest message that the server accepts.
        clock: Monotonic seconds.
    """

    applies_to: ClassVar[frozenset[Purpose]] = frozenset({Purpose.APPLICATION})

    def __init__(self, config: AdmissionConfig, message_bytes: int, clock: Clock = monotonic) -> None:
        self._clock, self._told = clock, config.priorities
        self._served: Callable[[], Iterable[Method]] = tuple
        self._priorities = {f"/{name}": Priority[value.upper()] for name, value in config.priorities.items()}
        queue = QueueAdmission(config.target_age, clock) if config.target_age else None
        limit = ConcurrencyLimit(config.min_calls, config.max_calls, clock)
        self._longest = _longest_known(config.target_age / 2)
        #: Set if there were calls of unknown age since `wants_probe` was called last.
        self._ageless = asyncio.Event()
        self._probes = 0
        #: Refused calls by priority: a count of its own, because `mesh_admission_refused` has its labels.
        self._refused = dict.fromkeys(Priority, 0)
        self._gate = Gate(queue, limit, config.max_streams, config.max_bytes, message_bytes)

    def on_start(self, call: ServerCall) -> None:
        """Take a permit for the call. Raises ResourceExhausted if there is none."""
        method = call.method
        priority = self._priorities.get(method.path, Priority.DEFAULT)
        age = self._age(call)
        if age is None:
            self._ageless.set()
        refusal = self._gate.enter(priority, age, method.kind is not Kind.UNARY)
        if refusal is not None:
            self._refused[priority] += 1
            call.trailing = (*call.trailing, (REFUSED_KEY, refusal.cause))
            raise ResourceExhausted(_CAUSES[refusal.cause], refusal.retry_after)

    def attach(self, connections: Connections) -> None:
        if self._gate.queue is not None:
            connections.probe_queue(self)

    def wants_probe(self) -> bool:
        """Return whether there were calls of unknown age since this was called last."""
        wanted = self._ageless.is_set()
        self._ageless.clear()
        return wanted

    async def wait_until_wanted(self) -> None:
        """Wait for a call of unknown age."""
        await self._ageless.wait()

    def probed(self, age: float) -> None:
        """Record that a call of this process to itself has queued for `age` seconds."""
        self._probes += 1
        if self._gate.queue is not None:
            self._gate.queue.saw(age)

    def probing(self, age: float) -> None:
        """Record that the oldest such call still under way has queued for `age` seconds so far."""
        if self._gate.queue is not None:
            self._gate.queue.queueing = age

    def on_end(self, call: ServerCall) -> None:
        cancelled = call.code is grpc.StatusCode.CANCELLED
        latency = None if cancelled else call.ended - call.started
        self._gate.leave(call.method.path, latency, call.method.kind is not Kind.UNARY)

    def _age(self, call: ServerCall) -> float | None:
        """Return the seconds that the call has queued in this process, or None if unknown.

        This is the part of the caller's timeout that has passed. The caller sends the timeout as metadata,
        because gRPC turns it into a deadline when the request arrives and does not expose the timeout itself.
        The age is unknown if the caller sends no timeout, or gRPC rounds it too coarsely: such a call must
        not hide the queue that others see.
        """
        told = call.metadata.get(TIMEOUT_KEY)
        if told is None or call.deadline is None:
            return None
        try:
            timeout = int(told) / 1000
        except (ValueError, OverflowError):
            timeout = -1.0
        if timeout < 0:
            bad_values.count("timeout")
            return None
        if timeout > self._longest:
            return None
        return min(max(0.0, timeout - (call.deadline - call.started)), timeout)

    def metrics(self) -> Iterable[Metric]:
        gate = self._gate
        told = "Calls that admission refused, by cause."
        refused = CounterMetricFamily("mesh_admission_refused", told, labels=["cause"])
        for cause, count in gate.refused.items():
            refused.add_metric([cause], count)
        yield refused
        told = "Calls that admission refused, by their priority."
        by_priority = CounterMetricFamily("mesh_admission_refused_by_priority", told, labels=["priority"])
        for priority, count in self._refused.items():
            by_priority.add_metric([priority.name.lower()], count)
        yield by_priority
        probes = "Calls of this process to itself that measure the queue."
        yield CounterMetricFamily("mesh_admission_probes", probes, value=self._probes)
        values = {
            "mesh_admission_limit": ("Limit of unary calls in flight.", gate.limit.limit),
            "mesh_admission_in_flight": ("Unary calls in flight.", gate.limit.in_flight),
            "mesh_admission_streams": ("Streams that run.", gate.streams),
            "mesh_admission_stretch": (
                "How much longer calls take than they need; 1: not at all.",
                gate.limit.stretch,
            ),
            "mesh_admission_queue_age_seconds": (
                "The least time that calls of the last window had queued.",
                gate.queue.age if gate.queue else 0.0,
            ),
            "mesh_admission_refused_share": (
                "The share of calls that is refused for their age.",
                gate.queue.refused_share if gate.queue else 0.0,
            ),
        }
        for name, (told, value) in values.items():
            yield GaugeMetricFamily(name, told, value=value)

    def register(self, server: Registrar, methods: Callable[[], Iterable[Method]]) -> None:
        """Keep the function that returns the server's methods."""
        self._served = methods

    def _of_served(self) -> dict[str, str]:
        """Return the configured priorities of the methods that this server serves."""
        served = {method.full_name for method in self._served()}
        return {name: priority for name, priority in sorted(self._told.items()) if name in served}

    def state(self) -> Mapping[str, Any]:
        gate = self._gate
        return {
            "admission": {
                "limit": round(gate.limit.limit),
                "in_flight": gate.limit.in_flight,
                "streams": gate.streams,
                "refused": dict(gate.refused),
                "queue_age": gate.queue.age if gate.queue else None,
                "probes": self._probes,
            },
            "priorities": self._of_served(),
        }


def _longest_known(error: float) -> float:
    """Return the longest timeout in seconds that gRPC rounds up by at most `error` seconds; -1 if none.

    gRPC keeps three digits, and whole milliseconds.

    Measured with grpcio 1.85.1: 3600 s arrives as 3610 s, 30 s as 30.1 s, 5 s as 5.01 s.
    """
    # Computed once: counting the digits of the timeout of each call took 0.4 µs.
    return max((10**d - 1 for d in range(3, 16) if 10 ** (d - 3) <= error * 1000), default=-1000) / 1000
