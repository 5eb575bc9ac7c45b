"""Load reports out of band: a stream on which a server says how loaded it is, without being called.

xds.service.orca.v3.OpenRcaService (gRFC A51), as grpc-go, grpc-java and C-core serve and ask it. A client in
Python gets the reports of servers in other languages only in this way: C-core keeps their trailers from it.
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
#: Seconds between two reports where a client asks for none or fewer, and the least that a server grants.
DEFAULT_INTERVAL, LEAST_INTERVAL = 30.0, 1.0
#: Seconds before a broken stream is begun anew: at first, and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0
#: OrcaLoadReportRequest has the interval as its first field, a message.
_INTERVAL_TAG = b"\x0a"


def encode_request(interval: float) -> bytes:
    """An OrcaLoadReportRequest for reports every `interval` seconds."""
    duration = duration_pb2.Duration()
    duration.FromNanoseconds(int(interval * 1e9))
    body = duration.SerializeToString()
    return _INTERVAL_TAG + bytes([len(body)]) + body


def decode_request(data: bytes) -> float:
    """The interval that an OrcaLoadReportRequest asks for, in seconds, within what a server grants."""
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
        report: Returns the load of the last window, at most some moments old.
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
    """Follows the reports of one endpoint.

    Args:
        channel: To the endpoint; connected.
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
        """Run until cancelled, or until the server turns out not to have the service."""
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
