"""The store's two ports: OTLP over gRPC for spans, HTTP for the pages."""

from types import TracebackType
from typing import Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import (
    TraceServiceServicer,
    add_TraceServiceServicer_to_server,
)

from grpcmesh.http import HttpServer
from local.traces.model import decode
from local.traces.store import TraceStore
from local.traces.web import web_app

#: Seconds that an export in flight may take when the server closes.
CLOSE_TIMEOUT = 1


class Receiver(TraceServiceServicer):
    """Implements OTLP's TraceService."""

    def __init__(self, store: TraceStore) -> None:
        self._store = store

    async def Export(
        self, request: ExportTraceServiceRequest, context: "grpc.aio.ServicerContext[Any, Any]"
    ) -> ExportTraceServiceResponse:
        self._store.add(decode(request))
        return ExportTraceServiceResponse()


class TraceServer:
    """A trace store whose ports are open inside `async with`.

    Args:
        otlp: `host:port` for OTLP/gRPC (no TLS: loopback only); port 0 takes a free one.
        http: `host:port` for the page and the API; port 0 takes a free one.
        store: The store for the spans; None creates one.

    Raises:
        OSError: on entering, if a port is taken; the text names it.
    """

    def __init__(self, otlp: str, http: str, store: TraceStore | None = None) -> None:
        self._otlp = otlp
        self.store = store if store is not None else TraceStore()
        self._web = HttpServer(web_app(self.store), http, "traces")
        self.otlp_port = self.http_port = 0

    async def __aenter__(self) -> Self:
        self._web.listen()
        try:
            await self._start_grpc()
            await self._web.start()
        except BaseException:
            await self._web.aclose()
            raise
        self.http_port = self._web.port
        return self

    async def _start_grpc(self) -> None:
        # No SO_REUSEPORT: otherwise a second store would silently get half of the spans.
        self._grpc = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        add_TraceServiceServicer_to_server(Receiver(self.store), self._grpc)  # type: ignore[no-untyped-call]
        try:
            self.otlp_port = self._grpc.add_insecure_port(self._otlp)
        except RuntimeError as error:
            raise OSError(f"OTLP port {self._otlp}: cannot listen") from error
        await self._grpc.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._grpc.stop(CLOSE_TIMEOUT)
        await self._web.aclose()
