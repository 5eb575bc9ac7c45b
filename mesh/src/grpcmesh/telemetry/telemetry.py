"""What one process tells: metrics, traces and logs, put together."""

import asyncio
import atexit
import functools
import os
import random
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric

from grpcmesh.bad_values import bad_values
from grpcmesh.config import MeshConfig
from grpcmesh.extras import missing
from grpcmesh.telemetry.access import AccessLog
from grpcmesh.telemetry.lag import LoopLag
from grpcmesh.telemetry.limit import RateLimit
from grpcmesh.telemetry.logs import CapturedLogging, Logger
from grpcmesh.telemetry.metrics import ClientMetrics, ServerMetrics
from grpcmesh.telemetry.registry import MergedSources, Source, process_registry
from grpcmesh.telemetry.tracing import ClientTrace, ServerTrace, Step, Tracer
from grpcmesh.telemetry.writer import LineWriter, standard_error

if TYPE_CHECKING:
    from grpcmesh.telemetry.spans import OtelRecorder

#: Seconds that leaving may take for spans; log lines get half of it on top.
CLOSE_TIMEOUT = 2.0


class Telemetry:
    """Metrics, traces and logs of a process, and the layers that feed them.

    Args:
        config: Its service, replica and `telemetry` part.
        writer: Where log lines go; None: standard error.
        environ: Where OTEL_EXPORTER_OTLP_ENDPOINT is looked up when the configuration names no endpoint.

    Attributes:
        registry: What `/metrics` shows.
        log: `log.info("message", key=value)`.
        tracer: For `TraceMiddleware`.
        trace_server, metrics_server, access_log: Layers of the server stack, outermost first.
        trace_client, metrics_client: Layers of the client stack, outermost first.
    """

    def __init__(
        self,
        config: MeshConfig,
        *,
        writer: LineWriter | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._writer = writer or standard_error()
        self.log = Logger(config.service, config.replica, self._writer.write, config.telemetry.log_level)
        self._sources = MergedSources()
        self.registry: CollectorRegistry = process_registry(self._sources)
        endpoint = config.telemetry.otlp_endpoint or environ.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")
        self._recorder = self._open_recorder(config, endpoint) if endpoint else None
        forced = RateLimit(config.telemetry.max_forced_traces)
        self.tracer = Tracer(config.telemetry.sample_ratio, self._recorder, random.Random(), forced)
        self.metrics_server, self.metrics_client = ServerMetrics(), ClientMetrics()
        self.trace_server = ServerTrace(self.tracer, config.address)
        self.trace_client = ClientTrace(self.tracer, functools.lru_cache(256)(_takes_baggage(config)))
        self.access_log = AccessLog(self.log, config.telemetry.access_log)
        self._lag = LoopLag()
        self._captured: CapturedLogging | None = None
        lines = _Lines(self._writer)
        for source in (self.metrics_server, self.metrics_client, self.tracer, self._lag, lines, bad_values):
            self.add(source)

    def _open_recorder(self, config: MeshConfig, endpoint: str) -> "OtelRecorder | None":
        # Imported here: a process that exports no spans need not carry the SDK (a quarter of a second,
        # ten megabytes).
        try:
            from grpcmesh.telemetry.spans import OtelRecorder, OtlpExporter
        except ModuleNotFoundError as e:
            self.log.warning(missing("spans are not exported", "otel", e))
            return None

        exporter = OtlpExporter(endpoint, self._on_export)
        self.add(exporter)
        return OtelRecorder(config, exporter)

    def _on_export(self, reason: str | None) -> None:
        if reason is None:
            self.log.info("spans are exported again")
        else:
            self.log.warning("spans cannot be exported", reason=reason)

    def add(self, source: Source) -> Callable[[], None]:
        """Shows a source's metrics until the returned function is called."""
        return self._sources.add(source)

    def span(self, name: str, **attributes: str | int | float | bool) -> Step:
        """`with telemetry.span("charge"):` records a step inside the current trace, if that is sampled."""
        return Step(self.tracer, name, dict(attributes))

    def capture_logging(self) -> None:
        """Routes the standard library's logging into `log` until `aclose`; for the owner of the process."""
        if self._captured is None:
            self._captured = CapturedLogging(self.log)

    async def start(self) -> None:
        """Starts what runs in the background."""
        self._lag.start()
        # A process that dies of an exception still writes its last lines.
        atexit.register(self._writer.close)

    async def aclose(self) -> None:
        """Sends what is left: spans within `CLOSE_TIMEOUT`, then log lines."""
        self._lag.stop()
        if self._recorder is not None:
            await asyncio.to_thread(self._recorder.close, CLOSE_TIMEOUT)
        if self._captured is not None:
            self._captured.restore()
            self._captured = None
        await self._writer.aclose()
        atexit.unregister(self._writer.close)


def _takes_baggage(config: MeshConfig) -> Callable[[str], bool]:
    """Whether a target is told what callers have in their baggage: services of the cluster, named ones."""
    named = frozenset(config.telemetry.baggage_targets)
    return lambda target: target in named or config.target(target).in_cluster


class _Lines:
    """The one number of a `LineWriter`."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        text = "Log lines that could not be written."
        yield CounterMetricFamily("mesh_log_lines_dropped", text, value=self._writer.dropped)
