"""Records OpenTelemetry spans and exports them. Only imported if an OTLP endpoint is set: it costs memory."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import urlsplit

import grpc
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
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
from prometheus_client.core import CounterMetricFamily, Metric

from grpcmesh.call import TraceContext
from grpcmesh.config import MeshConfig
from grpcmesh.telemetry.tracing import SCHEMA_URL

_KINDS = {"server": SpanKind.SERVER, "client": SpanKind.CLIENT, "internal": SpanKind.INTERNAL}
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)

#: Seconds that the export of one batch may take.
EXPORT_TIMEOUT = 2.0
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
        endpoint: `http://host:port` (no TLS), `https://host:port`, or `host:port` (no TLS).
        on_change: Called with the reason when exporting begins to fail, and with None when it works again.
    """

    def __init__(self, endpoint: str, on_change: Callable[[str | None], None]) -> None:
        url = urlsplit(endpoint if "//" in endpoint else f"http://{endpoint}")
        # A pool of its own: this channel must share no connection or backoff with the mesh's.
        options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
        if url.scheme == "https":
            self._channel = grpc.secure_channel(url.netloc, grpc.ssl_channel_credentials(), options)
        else:
            self._channel = grpc.insecure_channel(url.netloc, options)
        self._export = TraceServiceStub(self._channel).Export  # type: ignore[no-untyped-call]
        self._on_change = on_change
        self._failing: str | None = None
        self._end = float("inf")
        self.exported = self.failed = 0

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
                code = getattr(error, "code", None)
                reason = code().name if code else type(error).__name__
        return self._result(count, reason)

    def _encode(self, spans: Sequence[ReadableSpan]) -> tuple[Any, int]:
        """Return the request and its number of spans. Leave out and count spans that cannot be encoded."""
        try:
            return encode_spans(spans), len(spans)
        except Exception:  # whatever protobuf raises, such as for half of a surrogate pair in an attribute
            good = [span for span in spans if _can_be_sent(span)]
            self.failed += len(spans) - len(good)
            return encode_spans(good), len(good)

    def _result(self, count: int, reason: str | None) -> SpanExportResult:
        if (reason is None) != (self._failing is None):
            self._on_change(reason)
        self._failing = reason
        if reason is None:
            self.exported += count
            return SpanExportResult.SUCCESS
        self.failed += count
        return SpanExportResult.FAILURE

    def collect(self) -> Iterator[Metric]:
        """Yield the number of spans by outcome."""
        family = CounterMetricFamily("mesh_spans_exported", "Spans sent, by outcome.", labels=("outcome",))
        family.add_metric(("ok",), self.exported)
        family.add_metric(("failed",), self.failed)
        yield family

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
            ALWAYS_ON, _resource(config), shutdown_on_exit=False, span_limits=limits
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


def _resource(config: MeshConfig) -> Resource:
    ours = {
        "service.name": config.service,
        "service.namespace": config.namespace,
        "service.instance.id": config.replica or config.address,
        "telemetry.sdk.name": "opentelemetry",
        "telemetry.sdk.language": "python",
    }
    # Not Resource.create(): it scans every installed package for detectors.
    return OTELResourceDetector().detect().merge(Resource(ours))
