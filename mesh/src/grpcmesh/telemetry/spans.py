"""Records OpenTelemetry spans and exports them. Only imported if an OTLP endpoint is set: it costs memory."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import grpc
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from grpcmesh.call import TraceContext
from grpcmesh.config import MeshConfig
from grpcmesh.telemetry.otlp import EXPORT_TIMEOUT, Outcomes, channel_to, reason_of, resource_of
from grpcmesh.telemetry.tracing import SCHEMA_URL

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

#: The most spans waiting for export. Beyond it, the oldest are lost.
QUEUE = 4096
_BATCH = 512
#: The most characters of an attribute, because texts may come from anybody.
MAX_ATTRIBUTE = 1024


class OtlpExporter(SpanExporter):
    """Sends batches over OTLP/gRPC, from the batch processor's thread.

    The standard exporter logs every failed batch, and may delay the exit of a process by half a minute. This
    one counts failures, reports only changes, and stops at a deadline.

    Args:
        endpoint: See `grpcmesh.telemetry.otlp.channel_to`.
        on_change: Called with the reason when exporting begins to fail, and with None when it works again.
    """

    def __init__(self, endpoint: str, on_change: Callable[[str | None], None]) -> None:
        self._channel = channel_to(endpoint)
        self._export = TraceServiceStub(self._channel).Export  # type: ignore[no-untyped-call]
        self.outcomes = Outcomes("mesh_spans_exported", "Spans sent, by outcome.", on_change)
        self._end = float("inf")

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        left = min(EXPORT_TIMEOUT, self._end - time.monotonic())
        reason: str | None = "closing"
        count = len(spans)
        if left > 0:
            request, count = self._encode(spans)
            try:
                self._export(request, timeout=left)
                reason = None
            except grpc.RpcError as error:
                reason = reason_of(error)
        self.outcomes.add(count, reason)
        return SpanExportResult.SUCCESS if reason is None else SpanExportResult.FAILURE

    def _encode(self, spans: Sequence[ReadableSpan]) -> tuple[Any, int]:
        """Return the request and its number of spans. Leave out and count spans that cannot be encoded."""
        try:
            return encode_spans(spans), len(spans)
        except Exception:  # whatever protobuf raises, such as for half of a surrogate pair in an attribute
            good = [span for span in spans if _can_be_sent(span)]
            self.outcomes.failed += len(spans) - len(good)
            return encode_spans(good), len(good)

    def end_by(self, deadline: float) -> None:
        """Stop exporting at this time. `deadline`: monotonic seconds."""
        self._end = deadline

    def force_flush(self, timeout_millis: int = 0) -> bool:
        return True

    def shutdown(self) -> None:
        self._channel.close()


def _can_be_sent(span: ReadableSpan) -> bool:
    try:
        encode_spans([span])
    except Exception:  # as above
        return False
    return True


class OtelRecorder:
    """Records spans with the OpenTelemetry SDK. It records every span; the caller has decided on sampling."""

    def __init__(self, config: MeshConfig, exporter: OtlpExporter) -> None:
        self._exporter = exporter
        # No atexit hook: its flush has no bound. `aclose` is the way out.
        limits = SpanLimits(max_span_attribute_length=MAX_ATTRIBUTE)
        self._provider = TracerProvider(
            ALWAYS_ON, resource_of(config), shutdown_on_exit=False, span_limits=limits
        )
        processor = BatchSpanProcessor(
            exporter, max_queue_size=QUEUE, schedule_delay_millis=500, max_export_batch_size=_BATCH
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("grpcmesh", schema_url=SCHEMA_URL)

    def start(self, name: str, kind: str, parent: TraceContext | None, attributes: dict[str, Any]) -> Span:
        return self._tracer.start_span(name, _context(parent), _KINDS[kind], attributes)

    def context(self, span: Span) -> TraceContext:
        ids = span.get_span_context()
        return TraceContext(f"{ids.trace_id:032x}", f"{ids.span_id:016x}", True)

    def end(self, span: Span, error: str | None, attributes: dict[str, Any]) -> None:
        if error is not None:
            attributes = {**attributes, "error.type": error}
            span.set_status(Status(StatusCode.ERROR))
        span.set_attributes(attributes)
        span.end()

    def close(self, timeout: float) -> None:
        """Export the remaining spans within about `timeout` seconds. Blocks: do not call it on the loop."""
        self._exporter.end_by(time.monotonic() + timeout)
        # A daemon, because the SDK's own wait is half a minute should the exporter hang.
        closing = threading.Thread(target=self._provider.shutdown, daemon=True)
        closing.start()
        closing.join(timeout + 0.2)


def _context(parent: TraceContext | None) -> Context:
    # An explicit context: the SDK would otherwise look for a parent in a context variable of its own.
    if parent is None:
        return Context()
    ids = SpanContext(
        int(parent.trace_id, 16),
        int(parent.span_id, 16),
        is_remote=True,
        trace_flags=_SAMPLED,
        trace_state=TraceState.from_header([parent.state]) if parent.state else None,
    )
    return set_span_in_context(NonRecordingSpan(ids), Context())
