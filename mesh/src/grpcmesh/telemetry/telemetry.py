"""The telemetry of one process: combines metrics, traces and logs."""

import atexit
import functools
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, Metric

from grpcmesh.bad_values import bad_values
from grpcmesh.call import Method
from grpcmesh.config import MeshConfig
from grpcmesh.extras import missing
from grpcmesh.tasks import in_thread
from grpcmesh.telemetry.access import AccessLog
from grpcmesh.telemetry.grpc_metrics import GrpcMetrics
from grpcmesh.telemetry.lag import LoopLag
from grpcmesh.telemetry.limit import RateLimit
from grpcmesh.telemetry.logs import CapturedLogging, Logger
from grpcmesh.telemetry.metrics import ClientMetrics, ServerMetrics
from grpcmesh.telemetry.registry import MergedSources, Source, process_registry
from grpcmesh.telemetry.tracing import ClientTrace, ServerTrace, Step, Tracer
from grpcmesh.telemetry.writer import LineWriter, standard_error

if TYPE_CHECKING:
    from grpcmesh.telemetry.otlp_metrics import MetricsExporter
    from grpcmesh.telemetry.spans import OtelRecorder

#: Seconds that `aclose` may take for spans. Log lines get another second.
CLOSE_TIMEOUT = 2.0


class Telemetry:
    """Metrics, traces and logs of a process, and the layers that produce them.

    Args:
        config: Settings of the process. Its service, replica and `telemetry` part are used.
        writer: Writes log lines. If None, they go to standard error.
        environ: Holds OTEL_EXPORTER_OTLP_ENDPOINT, which is used if the configuration names no endpoint.

    Attributes:
        registry: The metrics that `/metrics` shows.
        log: The structured logger: `log.info("message", key=value)`.
        tracer: The tracer, for `TraceMiddleware`.
        trace_server, metrics_server, access_log: Layers of the server stack, outermost first.
        grpc_metrics: The metrics of gRFC A66, which have layers for both stacks. None unless they are
            exported.
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
        self.grpc_metrics: GrpcMetrics | None = None
        self._exporter = self._open_exporter(config, endpoint) if config.telemetry.otlp_metrics else None
        forced = RateLimit(config.telemetry.max_forced_traces)
        self.tracer = Tracer(config.telemetry.sample_ratio, self._recorder, random.Random(), forced)
        self.metrics_server, self.metrics_client = ServerMetrics(), ClientMetrics()
        home = (config.identity.trust_domain, config.namespace)
        self.trace_server = ServerTrace(self.tracer, config.address, *home)
        self.trace_client = ClientTrace(self.tracer, functools.lru_cache(256)(_takes_baggage(config)))
        self.access_log = AccessLog(self.log, config.telemetry.access_log, *home)
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

        exporter = OtlpExporter(endpoint, functools.partial(self._on_export, "spans"))
        self.add(exporter.outcomes)
        return OtelRecorder(config, exporter)

    def _open_exporter(self, config: MeshConfig, endpoint: str) -> "MetricsExporter | None":
        if not endpoint:
            self.log.warning("metrics are not exported: MESH_TELEMETRY_OTLP_ENDPOINT is not set")
            return None
        try:
            from grpcmesh.telemetry.otlp_metrics import MetricsExporter
        except ModuleNotFoundError as e:
            self.log.warning(missing("metrics are not exported", "otel", e))
            return None

        self.grpc_metrics = GrpcMetrics(config.telemetry.otlp_metrics_methods)
        on_change = functools.partial(self._on_export, "metrics")
        exporter = MetricsExporter(config, endpoint, self.grpc_metrics, on_change)
        self.add(exporter.outcomes)
        return exporter

    def _on_export(self, what: str, reason: str | None) -> None:
        if reason is None:
            self.log.info(f"{what} are exported again")
        else:
            self.log.warning(f"{what} cannot be exported", reason=reason)

    def add(self, source: Source) -> Callable[[], None]:
        """Expose a source's metrics. Return a function that removes them."""
        return self._sources.add(source)

    def declare(self, methods: Iterable[Method]) -> None:
        """Expose the methods of a server before their first call."""
        methods = list(methods)
        self.metrics_server.declare(methods)
        if self.grpc_metrics is not None:
            self.grpc_metrics.serves(methods)

    def span(self, name: str, **attributes: str | int | float | bool) -> Step:
        """Return a context manager that records a step inside the current trace, if that is sampled.

        For example, `with telemetry.span("charge"):`.
        """
        return Step(self.tracer, name, dict(attributes))

    def capture_logging(self) -> None:
        """Send the standard library's logging to `log` until `aclose`. Only for the owner of the process."""
        if self._captured is None:
            self._captured = CapturedLogging(self.log)

    async def start(self) -> None:
        """Start the background work, on the running event loop."""
        self._lag.start()
        if self._exporter is not None:
            self._exporter.start()
        # A process that dies of an exception still writes its last lines.
        atexit.register(self._writer.close)

    async def aclose(self) -> None:
        """Export the remaining spans within `CLOSE_TIMEOUT` seconds, then write the remaining log lines."""
        self._lag.stop()
        if self._exporter is not None:
            await self._exporter.aclose()
        if self._recorder is not None:
            await in_thread(self._recorder.close, CLOSE_TIMEOUT)
        if self._captured is not None:
            self._captured.restore()
            self._captured = None
        await self._writer.aclose()
        atexit.unregister(self._writer.close)


def _takes_baggage(config: MeshConfig) -> Callable[[str], bool]:
    """Return a function that tells whether callers' baggage is forwarded to a target.

    It is for services of the cluster, and for targets that the configuration names.
    """
    named = frozenset(config.telemetry.baggage_targets)
    return lambda target: target in named or config.target(target).in_cluster


class _Lines:
    """The metric of a `LineWriter`: the number of dropped lines."""

    def __init__(self, writer: LineWriter) -> None:
        self._writer = writer

    def collect(self) -> Iterator[Metric]:
        text = "Log lines that could not be written."
        yield CounterMetricFamily("mesh_log_lines_dropped", text, value=self._writer.dropped)
