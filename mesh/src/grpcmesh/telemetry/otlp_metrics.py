"""Exports gRPC's metrics over OTLP. Only imported if that is configured: the SDK costs memory."""

import asyncio
import time
from collections.abc import Callable

import grpc
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2_grpc import MetricsServiceStub
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from grpcmesh.config import MeshConfig
from grpcmesh.tasks import in_thread
from grpcmesh.telemetry.grpc_metrics import Distribution, Family, GrpcMetrics, Labels
from grpcmesh.telemetry.otlp import EXPORT_TIMEOUT, Outcomes, channel_to, reason_of, resource_of

#: The scope, which A66 wants to name the library, such as `grpc-go`.
SCOPE = "grpc-python"


class MetricsExporter:
    """Exports the metrics of a process at an interval, and once more when it is closed.

    Args:
        config: Settings of the process.
        endpoint: See `grpcmesh.telemetry.otlp.channel_to`.
        metrics: What is exported. It is read on the event loop's thread.
        on_change: Called with the reason when exporting begins to fail, and with None when it works again.
    """

    def __init__(
        self,
        config: MeshConfig,
        endpoint: str,
        metrics: GrpcMetrics,
        on_change: Callable[[str | None], None],
    ) -> None:
        self._metrics, self._interval = metrics, config.telemetry.otlp_metrics_interval
        self._resource, self._began = resource_of(config), time.time_ns()
        self._channel = channel_to(endpoint)
        self._export = MetricsServiceStub(self._channel).Export  # type: ignore[no-untyped-call]
        self.outcomes = Outcomes("mesh_metrics_exported", "Exports of metrics, by outcome.", on_change)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to export, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="export of metrics")

    async def aclose(self) -> None:
        """Export a last time, within about `EXPORT_TIMEOUT` seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            await self.export()
        self._channel.close()

    async def export(self) -> None:
        """Export the metrics as they are now. A failure is counted."""
        # Encoding takes milliseconds, and the channel blocks.
        self.outcomes.add(1, await in_thread(self._send, self._metrics.read(), time.time_ns()))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval)
            await self.export()

    def _send(self, families: list[Family], now: int) -> str | None:
        try:
            self._export(encode_metrics(self._data(families, now)), timeout=EXPORT_TIMEOUT)
        except grpc.RpcError as error:
            return reason_of(error)
        except Exception as error:  # of the encoder: the next export may work
            return type(error).__name__
        return None

    def _data(self, families: list[Family], now: int) -> MetricsData:
        metrics = [self._metric(family, now) for family in families if family.points]
        scope = ScopeMetrics(InstrumentationScope(SCOPE, grpc.__version__), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _metric(self, family: Family, now: int) -> Metric:
        cumulative = AggregationTemporality.CUMULATIVE
        counts, distributions = [], []
        for labels, value in family.points:
            if isinstance(value, Distribution):
                distributions.append(self._histogram(labels, value, now))
            else:
                counts.append(NumberDataPoint(labels, self._began, now, value))
        data = Histogram(distributions, cumulative) if distributions else Sum(counts, cumulative, True)
        return Metric(family.name, family.description, family.unit, data)

    def _histogram(self, labels: Labels, value: Distribution, now: int) -> HistogramDataPoint:
        return HistogramDataPoint(
            labels,
            self._began,
            now,
            sum(value.buckets),
            value.total,
            value.buckets,
            value.bounds,
            value.smallest,
            value.largest,
        )
