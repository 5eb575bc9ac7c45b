"""What one process tells: metrics, traces and logs, put together."""

import asyncio
from collections.abc import Callable

from prometheus_client import CollectorRegistry

from mesh.call import ClientLayer, ServerLayer
from mesh.config import MeshConfig
from mesh.telemetry.logs import CapturedLogging, LineWriter, Logger, standard_error
from mesh.telemetry.metrics import ClientMetrics, ServerMetrics
from mesh.telemetry.registry import MergedSources, Source, process_registry


class Telemetry:
    """Metrics, traces and logs of a process, and the layers that feed them.

    Args:
        config: Its service, replica and `telemetry` part.
        writer: Where log lines go; None: standard error.

    Attributes:
        registry: What `/metrics` shows.
        log: `log.info("message", key=value)`.
        trace_server, metrics_server, access_log: Layers of the server stack, in that order.
        trace_client, metrics_client: Layers of the client stack, in that order.
    """

    def __init__(self, config: MeshConfig, *, writer: LineWriter | None = None) -> None:
        self._writer = writer or standard_error()
        self.log = Logger(config.service, config.replica, self._writer.write, config.telemetry.log_level)
        self._sources = MergedSources()
        self.registry: CollectorRegistry = process_registry(self._sources)
        self.metrics_server, self.metrics_client = ServerMetrics(), ClientMetrics()
        self.trace_server: ServerLayer = ServerLayer()
        self.trace_client: ClientLayer = ClientLayer()
        self.access_log: ServerLayer = ServerLayer()
        for source in (self.metrics_server, self.metrics_client):
            self.add(source)
        self._captured: CapturedLogging | None = None

    def add(self, source: Source) -> Callable[[], None]:
        """Shows a source's metrics until the returned function is called."""
        return self._sources.add(source)

    def capture_logging(self) -> None:
        """Routes the standard library's logging into `log` until `aclose`; for the owner of the process."""
        if self._captured is None:
            self._captured = CapturedLogging(self.log)

    async def start(self) -> None:
        """Starts what runs in the background."""

    async def aclose(self) -> None:
        """Sends what is left, within about two seconds."""
        if self._captured is not None:
            self._captured.restore()
            self._captured = None
        await asyncio.to_thread(self._writer.close)
