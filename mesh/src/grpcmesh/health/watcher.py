"""The client's side of health: watches the health of one endpoint."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from grpcmesh.bad_values import bad_values
from grpcmesh.clock import Rng, system_rng

_WATCH = "/grpc.health.v1.Health/Watch"
#: Seconds before a broken watch is restarted: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
#: Seconds between two answers that are read. A server that sends them without end must not keep this process
#: busy; gRPC's flow control stops what is not read.
GAP = 0.02


class HealthWatcher:
    """Watches the health of one service over a connected channel.

    Args:
        channel: A channel to one endpoint.
        on_change: Called with each answer: whether the service serves. A server without health service counts
            as serving.
        on_error: Called with the reason, in one line, when the watch breaks. The last answer stays valid.
        on_greeting: Called with the initial metadata of each watch.
        rng: Draws the jitter of restarts.
        service: Full name of the service; "" is the whole process.
        unknown: Whether a service that the server does not know counts as serving (gRFC A17: it does not).
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        on_change: Callable[[bool], None],
        on_error: Callable[[str], None],
        on_greeting: Callable[[Any], None] = lambda metadata: None,
        rng: Rng | None = None,
        *,
        service: str = "",
        unknown: bool = False,
    ) -> None:
        watch: Any = channel.unary_stream(
            _WATCH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        )
        self._watch, self.service, self._unknown = watch, service, unknown
        self._on_change, self._on_error, self._on_greeting = on_change, on_error, on_greeting
        self._rng = rng or system_rng()
        #: Set once the server has answered, or cannot be asked.
        self.heard = asyncio.Event()

    async def run(self) -> None:
        """Watch until cancelled, or until the server answers UNIMPLEMENTED (it has no health service)."""
        pause = _FIRST_PAUSE
        while True:
            call = self._watch(health_pb2.HealthCheckRequest(service=self.service))
            try:
                self._on_greeting(await call.initial_metadata())
                # `async for` makes a reference cycle, which keeps the call, and with it the connection, until
                # the garbage collector comes by.
                while (answer := await call.read()) is not grpc.aio.EOF:
                    self._tell(self._serving(answer))
                    pause = _FIRST_PAUSE
                    await asyncio.sleep(GAP)
            except DecodeError:
                bad_values.count("health")
                self._broken("health watch: the answer is no HealthCheckResponse")
            except grpc.aio.AioRpcError as e:
                if e.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._tell(True)
                    return
                self._broken(f"health watch: {e.code().name}: {e.details()}")
            finally:
                # Leaving the loop does not end the call.
                call.cancel()
            await asyncio.sleep(pause * (0.5 + self._rng.random() / 2))
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _tell(self, serving: bool) -> None:
        self._on_change(serving)
        self.heard.set()

    def _broken(self, error: str) -> None:
        self._on_error(error)
        self.heard.set()

    def _serving(self, answer: bytes) -> bool:
        """Return whether an answer says SERVING. Raises DecodeError."""
        status = health_pb2.HealthCheckResponse.FromString(answer).status
        if status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN:
            return self._unknown
        return bool(status == health_pb2.HealthCheckResponse.SERVING)
