"""Telemetry over real gRPC: two hops of mesh servers and channels, spans read back from a trace store."""

import asyncio
import contextlib
import itertools
import json
import os
import shutil
import socket
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from grpcmesh.admin import AdminServer
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdminConfig, MeshConfig, TelemetryConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.server.server import MeshServer
from grpcmesh.telemetry import LineWriter, Telemetry, TraceMiddleware
from grpcmesh.telemetry.otlp import EXPORT_TIMEOUT
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from grpcmesh.testing.resolver import FakeResolver
from local.prometheus import Target, command, write_config, write_targets
from local.traces import Span, TraceStore
from local.traces.server import TraceServer
from local.traces.store import Query
from tests.ports import free_port


async def until(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, f"still not true after {timeout} s"
        await asyncio.sleep(0.01)


class Relay(PingServicer):
    """Passes a Ping on to the next service."""

    def __init__(self, stub: PingServiceStub) -> None:
        super().__init__("relay-1")
        self._stub = stub

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        response: PingResponse = await self._stub.Ping(request)
        return response


class Process:
    """What one process of the mesh has, without certificates: telemetry, perhaps a server and a channel."""

    def __init__(self, service: str, otlp: str, ratio: float, log: Path) -> None:
        telemetry = TelemetryConfig(sample_ratio=ratio, otlp_endpoint=otlp)
        self.config = MeshConfig(service, f"{service}-1", address="127.0.0.1:0", telemetry=telemetry)
        self._log = log / f"{service}.log"
        self._fd = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self.telemetry = Telemetry(self.config, writer=LineWriter(self._fd), environ={})
        self.server: MeshServer | None = None
        self.channels: list[MeshChannel] = []

    async def serve(self, servicer: PingServicer) -> None:
        t, health = self.telemetry, HealthServicer()
        layers = [t.trace_server, t.metrics_server, t.access_log]
        self.server = MeshServer(self.config, identity=None, layers=layers, health=health)
        add_PingServiceServicer_to_server(servicer, self.server)
        await self.server.start()
        health.set_all(True)

    def stub(self, to: "Process") -> PingServiceStub:
        assert to.server is not None
        resolver = FakeResolver(f"127.0.0.1:{to.server.port}")
        channel = MeshChannel(
            to.config.service, self.config, identity=None, resolver=resolver, telemetry=self.telemetry
        )
        self.channels.append(channel)
        return PingServiceStub(channel)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    async def aclose(self) -> None:
        for channel in self.channels:
            await channel.close()
        if self.server is not None:
            await self.server.stop(0)
        await self.telemetry.aclose()
        os.close(self._fd)


class Chain:
    """web → relay → leaf."""

    def __init__(self, otlp: str, ratio: float, log: Path) -> None:
        self.web, self.relay, self.leaf = (Process(s, otlp, ratio, log) for s in ("web", "relay", "leaf"))

    @property
    def all(self) -> tuple[Process, ...]:
        return self.web, self.relay, self.leaf

    async def start(self) -> PingServiceStub:
        await self.leaf.serve(PingServicer("leaf-1"))
        await self.relay.serve(Relay(self.relay.stub(self.leaf)))
        return self.web.stub(self.relay)


@contextlib.asynccontextmanager
async def chain(otlp: str, ratio: float, log: Path) -> AsyncIterator[tuple[Chain, PingServiceStub]]:
    processes = Chain(otlp, ratio, log)
    try:
        yield processes, await processes.start()
    finally:
        for process in processes.all:
            await process.aclose()


@pytest.fixture
async def traces() -> AsyncIterator[TraceServer]:
    async with TraceServer("127.0.0.1:0", "127.0.0.1:0") as server:
        yield server


def url(traces: TraceServer) -> str:
    return f"http://127.0.0.1:{traces.otlp_port}"


def by_service(store: TraceStore, trace_id: str) -> dict[tuple[str, str], Span]:
    trace = store.get(trace_id)
    assert trace is not None
    return {(span.service, span.kind): span for span in trace.spans.values()}


async def test_a_request_is_one_tree_of_spans_across_two_hops(traces: TraceServer, tmp_path: Path) -> None:
    async with chain(url(traces), 0.0, tmp_path) as (processes, stub):

        async def app(scope: Any, receive: Any, send: Any) -> None:
            await stub.Ping(PingRequest(text="hello"), timeout=5)
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body"})

        middleware = TraceMiddleware(app, processes.web.telemetry.tracer, lambda scope: True)
        transport = httpx.ASGITransport(middleware)
        async with httpx.AsyncClient(transport=transport, base_url="http://web") as http:
            trace_id = (await http.get("/ping")).headers["x-trace-id"]
    spans = by_service(traces.store, trace_id)
    order = [
        ("web", "server"),
        ("web", "client"),
        ("relay", "server"),
        ("relay", "client"),
        ("leaf", "server"),
    ]
    assert set(spans) == set(order)
    for parent, child in itertools.pairwise(order):
        assert spans[child].parent_id == spans[parent].span_id
        assert spans[parent].start <= spans[child].start <= spans[child].end <= spans[parent].end
    assert spans["leaf", "server"].replica == "leaf-1"
    assert spans["leaf", "server"].attributes["rpc.method"] == "mesh.testing.PingService/Ping"


async def test_each_attempt_of_a_call_is_an_event_of_its_one_client_span(
    traces: TraceServer, tmp_path: Path
) -> None:
    async with chain(url(traces), 1.0, tmp_path) as (processes, _):
        stub = processes.relay.stub(processes.leaf)
        await stub.Ping(PingRequest(text="twice", fail_code="UNAVAILABLE", fail_times=2), timeout=5)
        port = processes.leaf.server.port  # type: ignore[union-attr]
    [trace] = traces.store.find(limit=10, query=Query())
    [client] = [s for s in trace.spans.values() if s.kind == "client"]
    served = [s for s in trace.spans.values() if s.kind == "server"]
    codes = [event.attributes["rpc.response.status_code"] for event in client.events]
    assert codes == ["UNAVAILABLE", "UNAVAILABLE", "OK"]
    assert [event.attributes["server.port"] for event in client.events] == [port] * 3
    assert (client.error, sorted(s.error for s in served)) == (False, [False, True, True])
    assert {s.parent_id for s in served} == {client.span_id}


async def test_an_unsampled_trace_sends_no_spans_and_joins_the_logs_of_all_services(
    traces: TraceServer, tmp_path: Path
) -> None:
    async with chain(url(traces), 0.0, tmp_path) as (processes, stub):
        await stub.Ping(PingRequest(text="quiet"), timeout=5)
    relay, leaf = (
        [line for line in process.lines() if line["msg"] == "call"]
        for process in (processes.relay, processes.leaf)
    )
    assert relay[0]["trace_id"] == leaf[0]["trace_id"]
    assert (leaf[0]["method"], leaf[0]["code"]) == ("mesh.testing.PingService/Ping", "OK")
    assert "quiet" not in json.dumps(relay + leaf)
    assert len(traces.store) == 0


async def test_all_four_kinds_are_counted_on_both_sides(traces: TraceServer, tmp_path: Path) -> None:
    async def requests() -> AsyncIterator[PingRequest]:
        for n in range(3):
            yield PingRequest(text=str(n))

    async with chain(url(traces), 0.0, tmp_path) as (processes, _):
        stub = processes.relay.stub(processes.leaf)
        await stub.Ping(PingRequest(), timeout=5)
        assert len([r async for r in stub.Count(PingRequest(count=4), timeout=5)]) == 4
        await stub.Sum(requests(), timeout=5)
        assert len([r async for r in stub.Echo(requests(), timeout=5)]) == 3
        sides = {"client": processes.relay.telemetry, "server": processes.leaf.telemetry}
        for side, telemetry in sides.items():
            await until(lambda t=telemetry, s=side: _sum(t, f"grpc_{s}_handled_total", "OK") == 4)  # type: ignore[misc]
    for side, (sent, received) in {"client": (8, 9), "server": (9, 8)}.items():
        telemetry = sides[side]
        assert _by_type(telemetry, f"grpc_{side}_started_total") == {
            "unary": 1, "server_stream": 1, "client_stream": 1, "bidi_stream": 1,
        }  # fmt: skip
        assert _sum(telemetry, f"grpc_{side}_msg_sent_total") == sent
        assert _sum(telemetry, f"grpc_{side}_msg_received_total") == received


async def test_an_absent_collector_disturbs_no_call_and_is_told_once(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        otlp = f"http://127.0.0.1:{unused.getsockname()[1]}"
        async with chain(otlp, 1.0, tmp_path) as (processes, stub):
            for _ in range(3):
                await stub.Ping(PingRequest(), timeout=5)
                await until(lambda t=processes.leaf.telemetry: _failed(t) > 0)  # type: ignore[misc]
            async with asyncio.timeout(60):
                await processes.leaf.telemetry.aclose()
            warnings = [line for line in processes.leaf.lines() if line["level"] == "WARNING"]
    assert [line["msg"] for line in warnings] == ["spans cannot be exported"]


async def test_a_collector_that_hangs_delays_the_exit_by_a_bound(tmp_path: Path) -> None:
    # It listens, so connections are made, and nobody ever answers.
    silent = socket.create_server(("127.0.0.1", 0))
    otlp = f"http://127.0.0.1:{silent.getsockname()[1]}"
    process = Process("web", otlp, 1.0, tmp_path)
    for n in range(2000):
        with process.telemetry.span(f"step {n}"):
            pass
    turns = 0
    closing = asyncio.create_task(process.aclose())
    async with asyncio.timeout(4 * EXPORT_TIMEOUT):  # what exporting the four batches that wait would take
        while not closing.done():
            await asyncio.sleep(0.01)
            turns += 1
        await closing
    silent.close()
    assert turns > 5, "the event loop was blocked"


async def test_the_admin_port_serves_and_says_when_it_is_taken(tmp_path: Path) -> None:
    telemetry = Process("web", "", 0.0, tmp_path).telemetry
    admin = AdminServer(AdminConfig("127.0.0.1:0"), telemetry.registry, lambda: {"service": "web"})
    await admin.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{admin.port}", timeout=60) as http:
            assert "mesh_event_loop_lag_seconds" in (await http.get("/metrics")).text
            assert (await http.get("/state.json")).json() == {"service": "web"}
        second = AdminServer(AdminConfig(f"127.0.0.1:{admin.port}"), telemetry.registry, dict)
        with pytest.raises(OSError, match=f"admin port 127.0.0.1:{admin.port}: Address already in use"):
            await second.start()
    finally:
        await admin.aclose()
    again = AdminServer(AdminConfig("127.0.0.1:0"), telemetry.registry, dict)
    await again.start()
    await again.aclose()


@pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")
async def test_a_real_prometheus_scrapes_what_the_admin_port_shows(
    traces: TraceServer, tmp_path: Path
) -> None:
    async with chain(url(traces), 1.0, tmp_path) as (processes, stub):
        leaf = processes.leaf.telemetry
        admin = AdminServer(AdminConfig("127.0.0.1:0"), leaf.registry, dict)
        await admin.start()
        for _ in range(5):
            await stub.Ping(PingRequest(), timeout=5)
        write_targets(tmp_path / "sd.json", [Target("leaf", "leaf-1", f"127.0.0.1:{admin.port}")])
        async with prometheus(tmp_path) as http:
            labels = 'service="leaf",replica="leaf-1",instance="leaf-1",grpc_method="Ping",grpc_code="OK"'
            value = await _eventually(http, f"grpc_server_handled_total{{{labels}}}")
            exemplars = await _exemplars(http, "grpc_server_handling_seconds_bucket")
        await admin.aclose()
    assert value == "5"
    assert {len(exemplar["labels"]["trace_id"]) for exemplar in exemplars} == {32}


@contextlib.asynccontextmanager
async def prometheus(directory: Path) -> AsyncIterator[httpx.AsyncClient]:
    address = f"127.0.0.1:{free_port()}"
    config = write_config(directory, directory / "sd.json")
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command("prometheus", config, directory / "data", address), stdout=log, stderr=log
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", timeout=60) as http:
            yield http
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)


async def _eventually(http: httpx.AsyncClient, query: str, timeout: float = 30) -> str:
    async with asyncio.timeout(timeout):
        while True:
            with contextlib.suppress(httpx.TransportError):
                response = await http.get("/api/v1/query", params={"query": query})
                result = response.json()["data"]["result"] if response.status_code == 200 else []
                if result:
                    value: str = result[0]["value"][1]
                    return value
            await asyncio.sleep(0.2)


async def _exemplars(http: httpx.AsyncClient, query: str) -> list[dict[str, Any]]:
    now = time.time()
    params = {"query": query, "start": str(now - 600), "end": str(now + 60)}
    response = await http.get("/api/v1/query_exemplars", params=params)
    return [exemplar for series in response.json()["data"] for exemplar in series["exemplars"]]


def _samples(telemetry: Telemetry) -> list[Any]:
    return [sample for family in telemetry.registry.collect() for sample in family.samples]


def _sum(telemetry: Telemetry, name: str, code: str | None = None) -> float:
    found = [s for s in _samples(telemetry) if s.name == name and "Health" not in s.labels["grpc_service"]]
    return float(sum(s.value for s in found if code is None or s.labels["grpc_code"] == code))


def _by_type(telemetry: Telemetry, name: str) -> dict[str, float]:
    found = [
        s for s in _samples(telemetry) if s.name == name and "Ping" in s.labels["grpc_service"] and s.value
    ]
    return {s.labels["grpc_type"]: s.value for s in found}


def _failed(telemetry: Telemetry) -> float:
    found = [s for s in _samples(telemetry) if s.name == "mesh_spans_exported_total"]
    return float(sum(s.value for s in found if s.labels["outcome"] == "failed"))
