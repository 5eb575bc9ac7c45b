"""The client's side of health: follows what one endpoint says of itself."""

import asyncio
from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_health.v1 import health_pb2

from grpcmesh.bad_values import bad_values
from grpcmesh.clock import Rng, system_rng
from grpcmesh.status import MEMBER_KEY

_WATCH = "/grpc.health.v1.Health/Watch"
#: Seconds before a broken watch is begun anew: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 2.0
#: Seconds between two answers that are looked at. A server that sends them without end must not keep this
#: process busy; gRPC's flow control holds up what is not read.
GAP = 0.02


class HealthWatcher:
    """Watches the service "" (the whole process) over a channel that is connected.

    Args:
        channel: To one endpoint.
        on_change: Told each answer; a server without the service counts as healthy.
        on_error: Told why the watch broke, in one line. What was last said of health stays.
        on_member: Told that the server says it is one of the mesh.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        on_change: Callable[[bool], None],
        on_error: Callable[[str], None],
        on_member: Callable[[], None] = lambda: None,
        rng: Rng | None = None,
    ) -> None:
        watch: Any = channel.unary_stream(
            _WATCH,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
        )
        self._watch = watch
        self._on_change, self._on_error, self._on_member = on_change, on_error, on_member
        self._rng = rng or system_rng()

    async def run(self) -> None:
        """Until cancelled, or until the server turns out not to know the service."""
        pause = _FIRST_PAUSE
        while True:
            call = self._watch(health_pb2.HealthCheckRequest(service=""))
            try:
                if (await call.initial_metadata()).get(MEMBER_KEY):
                    self._on_member()
                async for answer in call:
                    self._on_change(_serving(answer))
                    pause = _FIRST_PAUSE
                    await asyncio.sleep(GAP)
            except DecodeError:
                bad_values.count("health")
                self._on_error("health watch: the answer is no HealthCheckResponse")
            except grpc.aio.AioRpcError as e:
                if e.code() is grpc.StatusCode.UNIMPLEMENTED:
                    self._on_change(True)
                    return
                self._on_error(f"health watch: {e.code().name}: {e.details()}")
            finally:
                # Leaving the loop does not end the call.
                call.cancel()
            await asyncio.sleep(pause * (0.5 + self._rng.random() / 2))
            pause = min(2 * pause, _LONGEST_PAUSE)


def _serving(answer: bytes) -> bool:
    """Whether an answer says SERVING. Raises DecodeError."""
    status = health_pb2.HealthCheckResponse.FromString(answer).status
    return bool(status == health_pb2.HealthCheckResponse.SERVING)
