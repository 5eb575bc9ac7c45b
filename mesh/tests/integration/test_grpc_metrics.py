"""The metrics of gRFC A66, from real calls over mutual TLS to a collector that receives OTLP."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from grpcmesh.ca import write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import IdentityConfig, MeshConfig, RetryConfig, TelemetryConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import Address, StaticResolver
from grpcmesh.telemetry import Telemetry
from grpcmesh.telemetry.grpc_metrics import LATENCY, SIZE
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.serverkit import Lines, Served, failure, serve, until

SERVICE = "opentelemetry.proto.collector.metrics.v1.MetricsService"
PING = "mesh.testing.PingService/Ping"
TARGET = "dns:///ping.default.svc.cluster.local"


class Collector:
    """Accepts metrics over OTLP, and keeps the last export of each service."""

    def __init__(self) -> None:
        self.exports: dict[str, Any] = {}
        self.fails = False
        self._server = grpc.aio.server()
        handler: Any = grpc.unary_unary_rpc_method_handler(
            self._export,
            request_deserializer=ExportMetricsServiceRequest.FromString,
            response_serializer=ExportMetricsServiceResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(SERVICE, {"Export": handler})]
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")

    async def _export(
        self, request: ExportMetricsServiceRequest, context: Any
    ) -> ExportMetricsServiceResponse:
        if self.fails:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "told to")
        for each in request.resource_metrics:
            resource = {a.key: a.value.string_value for a in each.resource.attributes}
            self.exports[resource["service.name"]] = each.scope_metrics
        return ExportMetricsServiceResponse()

    async def __aenter__(self) -> "Collector":
        await self._server.start()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._server.stop(0)

    def metrics(self, service: str) -> dict[str, Any]:
        [scope] = self.exports[service]
        assert scope.scope.name == "grpc-python"
        return {metric.name: metric for metric in scope.metrics}

    def points(self, service: str, name: str) -> dict[tuple[str, ...], Any]:
        """Return a metric's points by the values of their labels: method, status, target."""
        metric = self.metrics(service)[name]
        data = metric.histogram if metric.HasField("histogram") else metric.sum
        assert data.aggregation_temporality == 2  # cumulative
        return {
            tuple(a.value.string_value for a in sorted(p.attributes, key=lambda a: a.key)): p
            for p in data.data_points
        }


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    async with Collector() as made:
        yield made


def settings(collector: Collector, **more: Any) -> TelemetryConfig:
    return TelemetryConfig(
        sample_ratio=0.0, otlp_endpoint=f"127.0.0.1:{collector.port}", **{"otlp_metrics": True, **more}
    )


class Both:
    """A served Ping and a client of it, each with its telemetry."""

    def __init__(self, served: Served, config: MeshConfig, directory: Path) -> None:
        self.served, self.telemetry = served, Telemetry(config, writer=Lines())
        write_atomically(directory / "client", served.ca.issue("client").files())
        identity = IdentityStore(IdentityConfig(directory / "client"))
        identity.load()
        resolver = StaticResolver([Address("127.0.0.1", served.server.port)])
        self.channel = MeshChannel(
            "ping", config, identity=identity, resolver=resolver, telemetry=self.telemetry
        )
        self.stub = PingServiceStub(self.channel)

    async def export(self) -> None:
        """End the telemetry of both, which exports a last time."""
        await self.channel.close()
        await self.telemetry.aclose()
        await self.served.telemetry.aclose()


@asynccontextmanager
async def both(directory: Path, server: TelemetryConfig, client: TelemetryConfig) -> AsyncIterator[Both]:
    config = MeshConfig("client", telemetry=client, retry=RetryConfig(base_backoff=0.001))
    async with serve(directory, telemetry=server) as served:
        served.telemetry.declare(served.server.methods())
        made = Both(served, config, directory)
        await made.telemetry.start()
        await served.telemetry.start()
        try:
            yield made
        finally:
            await made.export()


async def test_calls_attempts_and_sizes_arrive_under_the_names_of_a66(
    collector: Collector, tmp_path: Path
) -> None:
    request = PingRequest(text="x" * 3000, fail_code="UNAVAILABLE", fail_times=1)
    async with both(tmp_path, settings(collector), settings(collector)) as pair:
        answer: PingResponse = await pair.stub.Ping(request, timeout=30)
        await failure(pair.stub.Poke(PingRequest(fail_code="NOT_FOUND"), timeout=30))
        _ = [m async for m in pair.stub.Count(PingRequest(count=3), timeout=30)]
    expected = {
        "client": {
            "grpc.client.attempt.started": "{attempt}",
            "grpc.client.attempt.duration": "s",
            "grpc.client.attempt.sent_total_compressed_message_size": "By",
            "grpc.client.attempt.rcvd_total_compressed_message_size": "By",
            "grpc.client.call.duration": "s",
        },
        "ping": {
            "grpc.server.call.started": "{call}",
            "grpc.server.call.duration": "s",
            "grpc.server.call.sent_total_compressed_message_size": "By",
            "grpc.server.call.rcvd_total_compressed_message_size": "By",
        },
    }
    for service, names in expected.items():
        assert {name: metric.unit for name, metric in collector.metrics(service).items()} == names
    attempts = collector.points("client", "grpc.client.attempt.duration")
    assert {key: point.count for key, point in attempts.items() if key[0] == PING} == {
        (PING, "OK", TARGET): 1,
        (PING, "UNAVAILABLE", TARGET): 1,
    }
    started = collector.points("client", "grpc.client.attempt.started")
    assert started[PING, TARGET].as_int == 2
    calls = collector.points("client", "grpc.client.call.duration")
    assert {key[:2]: point.count for key, point in calls.items()} == {
        (PING, "OK"): 1,
        ("mesh.testing.PingService/Poke", "NOT_FOUND"): 1,
        ("mesh.testing.PingService/Count", "OK"): 1,
    }
    sent = collector.points("client", "grpc.client.attempt.sent_total_compressed_message_size")
    assert [p.sum for k, p in sent.items() if k[0] == PING] == [request.ByteSize()] * 2
    received = collector.points("client", "grpc.client.attempt.rcvd_total_compressed_message_size")
    assert received[PING, "OK", TARGET].sum == answer.ByteSize()
    assert received[PING, "UNAVAILABLE", TARGET].sum == 0
    served = collector.points("ping", "grpc.server.call.rcvd_total_compressed_message_size")
    assert served[PING, "OK"].sum == request.ByteSize()
    three = collector.points("ping", "grpc.server.call.sent_total_compressed_message_size")
    theirs = received["mesh.testing.PingService/Count", "OK", TARGET].sum
    assert three["mesh.testing.PingService/Count", "OK"].sum == theirs > 0
    assert tuple(calls[PING, "OK", TARGET].explicit_bounds) == LATENCY
    assert tuple(served[PING, "OK"].explicit_bounds) == SIZE
    assert sum(calls[PING, "OK", TARGET].bucket_counts) == 1


async def test_methods_that_are_not_generated_are_other(collector: Collector, tmp_path: Path) -> None:
    named = settings(collector, otlp_metrics_methods=("a.B/Named",))
    async with both(tmp_path, settings(collector), named) as pair:
        for path in ("/a.B/Invented", "/a.B/Named", "/a.B/Another"):
            await failure(pair.channel.unary_unary(path)(b"", timeout=30))
    started = collector.points("client", "grpc.client.attempt.started")
    assert {key[0]: point.as_int for key, point in started.items()} == {"other": 2, "a.B/Named": 1}
    served = collector.points("ping", "grpc.server.call.duration")
    watches = "grpc.health.v1.Health/Watch"  # the channel's own
    assert {k: p.count for k, p in served.items() if k[0] != watches} == {("other", "UNIMPLEMENTED"): 3}


async def test_nothing_is_exported_unless_a_setting_says_so(collector: Collector, tmp_path: Path) -> None:
    off = settings(collector, otlp_metrics=False)
    async with both(tmp_path, off, off) as pair:
        await pair.stub.Ping(PingRequest(), timeout=30)
        assert pair.telemetry.grpc_metrics is pair.served.telemetry.grpc_metrics is None
    assert collector.exports == {}


async def test_they_are_exported_at_an_interval(collector: Collector, tmp_path: Path) -> None:
    often = settings(collector, otlp_metrics_interval=0.1)
    async with both(tmp_path, settings(collector, otlp_metrics=False), often) as pair:
        await pair.stub.Ping(PingRequest(), timeout=30)
        await until(lambda: "grpc.client.call.duration" in str(collector.exports.get("client", "")))


async def test_an_export_that_fails_is_counted_and_logged_once(collector: Collector, tmp_path: Path) -> None:
    collector.fails = True
    log = Lines()
    telemetry = Telemetry(MeshConfig("client", telemetry=settings(collector)), writer=log)
    assert telemetry._exporter is not None
    await telemetry._exporter.export()
    await telemetry._exporter.export()
    collector.fails = False
    await telemetry._exporter.export()
    await telemetry.aclose()
    counted = {
        s.labels["outcome"]: s.value
        for f in telemetry.registry.collect()
        for s in f.samples
        if s.name == "mesh_metrics_exported_total"
    }
    assert counted == {"ok": 1, "failed": 2}
    assert [line for line in log.lines if "metrics cannot be exported" in line and "UNAVAILABLE" in line]
    assert len([line for line in log.lines if "metrics" in line]) == 2


async def test_without_an_endpoint_it_is_said_that_nothing_is_exported() -> None:
    log = Lines()
    config = MeshConfig("client", telemetry=TelemetryConfig(otlp_metrics=True))
    telemetry = Telemetry(config, writer=log, environ={})
    assert telemetry.grpc_metrics is None
    assert "MESH_TELEMETRY_OTLP_ENDPOINT is not set" in log.lines[0]
    await telemetry.aclose()
