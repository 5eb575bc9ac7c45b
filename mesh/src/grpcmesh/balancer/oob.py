"""Out-of-band load reports: a stream on which a server reports its load independently of calls.

The service is xds.service.orca.v3.OpenRcaService (gRFC A51), as in grpc-go, grpc-java and C-core. It is the
only way for a client in Python to get the reports of servers in other languages, because C-core removes their
trailing metadata.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from google.protobuf import duration_pb2

from grpcmesh.balancer.orca import LoadReport
from grpcmesh.call import Registrar, current_workload
from grpcmesh.clock import Rng, system_rng
from grpcmesh.watchers import WatcherBudget

SERVICE = "xds.service.orca.v3.OpenRcaService"
METHOD = "StreamCoreMetrics"
#: Seconds between two reports if the client names no interval, and the shortest interval a server grants.
DEFAULT_INTERVAL, LEAST_INTERVAL = 30.0, 1.0
#: Seconds before a broken stream is restarted: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: OrcaLoadReportRequest has the interval as its first field, a message.
_INTERVAL_TAG = b"\x0a"


def encode_request(interval: float) -> bytes:
    """Return an encoded OrcaLoadReportRequest for a report every `interval` seconds."""
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(int(interval * 1e9))
    body = duration.SerializeToString()
    return _INTERVAL_TAG + bytes([len(body)]) + body


def decode_request(data: bytes) -> float:
    """Return the interval of an OrcaLoadReportRequest in seconds, bounded to what a server grants."""
    duration = duration_pb2.Duration()
    if data[:1] == _INTERVAL_TAG and len(data) >= 2:
        try:
            duration.ParseFromString(data[2 : 2 + data[1]])
        except Exception:  # whatever protobuf raises: the bytes are the caller's
            return DEFAULT_INTERVAL
    seconds = duration.seconds + duration.nanos / 1e9
    return max(LEAST_INTERVAL, min(seconds, 3600.0)) if seconds > 0 else DEFAULT_INTERVAL


class LoadReportServicer:
    """Serves the load of this process as a stream.

    Args:
        report: Returns the load of the last interval.
        budget: Bounds the streams that are open.
    """

    def __init__(self, report: Callable[[], LoadReport], budget: WatcherBudget) -> None:
        self._report, self.budget = report, budget

    def add_to(self, server: Registrar) -> None:
        """Add the service to a server."""
        method: Any = grpc.unary_stream_rpc_method_handler(self.StreamCoreMetrics)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: method}),),
        )

    async def StreamCoreMetrics(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        interval, peer = decode_request(request), str(current_workload())
        self.budget.enter(peer)
        try:
            while True:
                yield self._report().encode()
                await asyncio.sleep(interval)
        finally:
            self.budget.leave(peer)


class OobReports:
    """Reads the load reports of one endpoint.

    Args:
        channel: A connected channel to the endpoint.
        interval: Seconds between two reports, as asked of the server.
        on_report: Called with each report.
        rng: Draws the jitter of the pauses.
    """

    def __init__(
        self,
        channel: grpc.aio.Channel,
        interval: float,
        on_report: Callable[[LoadReport], None],
        rng: Rng | None = None,
    ) -> None:
        stream: Any = channel.unary_stream(f"/{SERVICE}/{METHOD}")
        self._stream, self._request = stream, encode_request(interval)
        # A server that reports without end must not keep this process busy: what is not read is held up.
        self._gap = interval / 2
        self._on_report, self._rng = on_report, rng or system_rng()

    async def run(self) -> None:
        """Read reports until cancelled, or until the server answers UNIMPLEMENTED."""
        pause = _FIRST_PAUSE
        while True:
            call = self._stream(self._request)
            try:
                while (data := await call.read()) is not grpc.aio.EOF:  # see HealthWatcher
                    if report := LoadReport.decode(data):
                        self._on_report(report)
                    pause = _FIRST_PAUSE
                    await asyncio.sleep(self._gap)
            except grpc.aio.AioRpcError as e:
                if e.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return
            finally:
                call.cancel()  # leaving the loop does not end the call
            await asyncio.sleep(pause * (0.5 + self._rng.random() / 2))
            pause = min(2 * pause, _LONGEST_PAUSE)
