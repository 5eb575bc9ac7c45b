"""Spans on their way to a collector: what one of them holds costs no other."""

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from grpcmesh.call import TraceContext
from grpcmesh.config import MeshConfig, TelemetryConfig
from grpcmesh.telemetry import Telemetry, annotate
from grpcmesh.telemetry.spans import MAX_ATTRIBUTE
from tests.integration.serverkit import Lines


class Collector:
    """A collector that accepts spans over OTLP."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self._server = grpc.aio.server()
        handler: Any = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportTraceServiceRequest.FromString,
            response_serializer=ExportTraceServiceResponse.SerializeToString,
        )
        service = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(service, {"Export": handler})]
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    async def _export(self, request: ExportTraceServiceRequest, context: Any) -> ExportTraceServiceResponse:
        self.spans += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
        return ExportTraceServiceResponse()

    async def __aenter__(self) -> "Collector":
        await self._server.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._server.stop(0)


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as made:
        yield made


def opened(collector: Collector) -> Telemetry:
    settings = TelemetryConfig(sample_ratio=1.0, otlp_endpoint=f"127.0.0.1:{collector.port}")
    return Telemetry(MeshConfig("shop", telemetry=settings), writer=Lines())


async def test_a_span_that_cannot_be_sent_costs_no_other(collector: Collector) -> None:
    telemetry = opened(collector)
    for name in ("before", "half of a pair: \ud800", "after"):
        with telemetry.span(name):
            annotate(order_note="\ud800", order_id=7)
    await telemetry.aclose()
    assert [s.name for s in collector.spans] == ["before", "after"]
    assert [a.key for s in collector.spans for a in s.attributes] == ["order.id"] * 2
    exported = {
        s.labels["outcome"]: s.value
        for f in telemetry.registry.collect()
        for s in f.samples
        if s.name == "mesh_spans_exported_total"
    }
    assert exported == {"ok": 2, "failed": 1}


async def test_a_long_attribute_is_cut(collector: Collector) -> None:
    telemetry = opened(collector)
    with telemetry.span("long", note="x" * 100_000):
        pass
    await telemetry.aclose()
    [span] = collector.spans
    assert len(span.attributes[0].value.string_value) == MAX_ATTRIBUTE


async def test_the_tracestate_of_the_caller_is_exported(collector: Collector) -> None:
    telemetry = opened(collector)
    parent = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True, "vendor=1,other=2")
    trace, span = telemetry.tracer.start("served", "server", parent, {})
    telemetry.tracer.end(span, None, {})
    await telemetry.aclose()
    [exported] = collector.spans
    assert trace.state == exported.trace_state == "vendor=1,other=2"
    assert exported.trace_id.hex() == trace.trace_id == parent.trace_id
