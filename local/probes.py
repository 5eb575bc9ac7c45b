"""Readiness and liveness: what the kubelet concludes from answers to grpc.health.v1.Health/Check.

`Probe` decides with a clock that it is given; `HealthClient` makes the calls.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpcmesh.clock import Clock, monotonic

if TYPE_CHECKING:
    import grpc.aio


class Answer(enum.Enum):
    """The result of one probe."""

    SERVING = enum.auto()
    NOT_SERVING = enum.auto()
    """Alive, but not to be called now."""
    NONE = enum.auto()
    """The connection was refused, or there was no answer within the timeout."""


class Verdict(enum.Enum):
    """The decision about the process."""

    KEEP = enum.auto()
    KILL = enum.auto()


@dataclass(frozen=True)
class ProbeConfig:
    """The thresholds of readiness and liveness. Durations are in seconds."""

    startup_period: float = 0.2
    """The interval between probes until the first SERVING."""
    period: float = 0.5
    """The interval between probes of a replica that answers."""
    failure_period: float = 1.0
    """The interval between probes of a replica that does not answer."""
    timeout: float = 1.0
    """The timeout of one probe."""
    ready_failures: int = 3
    """Consecutive unanswered probes after which it leaves DNS (NOT_SERVING removes it at once)."""
    live_failures: int = 10
    """Consecutive unanswered probes after which it is killed."""
    startup_timeout: float = 60.0
    """The time that a process may take to its first answer."""


class Probe:
    """The probe state of one process.

    Args:
        config: The thresholds.
        clock: Monotonic seconds, read only for the startup timeout. Everything else counts probes, so that a
            supervisor that was itself stopped for a while does not take all its replicas for hung.
    """

    def __init__(self, config: ProbeConfig, clock: Clock = monotonic) -> None:
        self._config, self._clock = config, clock
        self._started = clock()
        self._answered = False
        self._failures = 0
        self.ready = False

    def observe(self, answer: Answer) -> Verdict:
        """Record one probe's result, and return the verdict. `ready` is up to date afterwards."""
        if answer is Answer.NONE:
            return self._silent()
        self._answered, self._failures = True, 0
        self.ready = answer is Answer.SERVING
        return Verdict.KEEP

    def _silent(self) -> Verdict:
        self._failures += 1
        if not self._answered:
            overdue = self._clock() - self._started >= self._config.startup_timeout
            return Verdict.KILL if overdue else Verdict.KEEP
        if self._failures >= self._config.ready_failures:
            self.ready = False
        return Verdict.KILL if self._failures >= self._config.live_failures else Verdict.KEEP

    def wait(self) -> float:
        """Return the seconds until the next probe."""
        if not self.ready and (not self._answered or not self._failures):
            return self._config.startup_period
        return self._config.failure_period if self._failures else self._config.period

    def __repr__(self) -> str:
        return f"Probe(ready={self.ready}, answered={self._answered}, failures={self._failures})"


class HealthClient:
    """Probes one replica's plaintext health port.

    Args:
        address: The address, such as `127.0.1.1:50052`.
        timeout: Seconds to wait for an answer.
    """

    def __init__(self, address: str, timeout: float) -> None:
        self._address, self._timeout = address, timeout
        self._channel: grpc.aio.Channel | None = None

    async def check(self) -> Answer:
        """Probe the whole process (service "")."""
        # Imported here, because the supervisor starts processes before it has anything to probe.
        import grpc
        from grpc_health.v1 import health_pb2

        if self._channel is None:
            self._channel = _open(self._address)
        check = self._channel.unary_unary(
            "/grpc.health.v1.Health/Check",
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            reply = await check(health_pb2.HealthCheckRequest(), timeout=self._timeout)
        except grpc.aio.AioRpcError as e:
            answered = e.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
            return Answer.NOT_SERVING if answered else Answer.NONE
        serving = reply.status == health_pb2.HealthCheckResponse.SERVING
        return Answer.SERVING if serving else Answer.NOT_SERVING

    async def aclose(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None


def _open(address: str) -> grpc.aio.Channel:
    import grpc.aio

    return grpc.aio.insecure_channel(
        address,
        options=[
            # A new process is probed several times a second: do not back off while its port is closed.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 100),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_http_proxy", 0),
        ],
    )
