"""A replica that lies and babbles in its trailing metadata, beside some that do not."""

import asyncio
import json
import math
import struct
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.bad_values import bad_values
from grpcmesh.balancer import LOAD_KEY, LoadReport
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import MeshConfig
from grpcmesh.health.watcher import GAP, HealthWatcher
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.status import DETAILS_KEY, REPLICA_KEY, from_wire, replica_of
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.replicas import cluster, eventually


def double(number: int, value: float) -> bytes:
    return bytes([number << 3 | 1]) + struct.pack("<d", value)


REPORTS = {
    "not a number": double(1, math.nan) + double(6, math.nan),
    "infinite": double(1, 0.5) + double(6, math.inf),
    "negative": double(1, -1.0) + double(6, 10.0),
    "beyond all": double(1, 1e-308) + double(6, 1e308),
    "tiny": double(1, 1e-300) + double(6, 1e9),
    "garbage": b"\xff" * 40,
    "empty": b"",
    "long": double(10, 1.0) * 250,
}
BALANCING = {"blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s"}
SETTINGS = json.dumps({"ping": {"loadBalancingConfig": [{"weighted_round_robin": BALANCING}]}})


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
async def test_a_report_that_makes_no_sense_costs_no_call_and_moves_no_traffic(
    tmp_path: Path, report: bytes
) -> None:
    """The two honest servers report alike. The third is weighted as one without a report."""
    settings = ServiceConfigStore(inline=SETTINGS)
    settings.load()
    async with cluster(tmp_path, 3) as ping:
        channel = ping.open(service_config=settings)
        stub = PingServiceStub(channel)
        *honest, liar = ping.servers
        for server in honest:
            server.servicer.trailing = ((LOAD_KEY, LoadReport(cpu_utilization=0.5, qps=10).encode()),)
        liar.servicer.trailing = ((LOAD_KEY, report), (LOAD_KEY, report))
        await channel.start()
        await eventually(lambda: [e["state"] for e in channel.state()["endpoints"]] == ["ready"] * 3)
        for _ in range(60):
            await stub.Ping(PingRequest(), timeout=15)
        assert all(14 <= server.servicer.calls["Ping"] <= 26 for server in ping.servers)
        await channel.close()


@pytest.mark.parametrize("pushback", [" ", "soon", "1e9", "99999999999", "-1", "0x1"])
async def test_a_pushback_that_is_no_number_ends_the_call_with_the_servers_error(
    tmp_path: Path, pushback: str
) -> None:
    async with cluster(tmp_path, 1) as ping:
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await ping.stub.Ping(PingRequest(fail_code="UNAVAILABLE", pushback=pushback), timeout=15)
        assert e.value.code() is grpc.StatusCode.UNAVAILABLE
        assert ping.servers[0].servicer.calls["Ping"] == 1
        assert (await ping.stub.Ping(PingRequest(), timeout=15)).replica == "ping-1"


async def test_details_and_names_that_make_no_sense_are_read_as_none(tmp_path: Path) -> None:
    async with cluster(tmp_path, 1) as ping:
        ping.servers[0].servicer.trailing = ((DETAILS_KEY, b"\xff" * 50), (REPLICA_KEY, "a b <script>"))
        before = dict(bad_values.counts)
        call = ping.stub.Ping(PingRequest(), timeout=15)
        await call
        trailing = await call.trailing_metadata()
        assert from_wire(trailing) is None
        assert replica_of(trailing) == ""
        assert bad_values.counts["status_details"] - before["status_details"] == 1
        assert bad_values.counts["replica"] - before["replica"] == 1


class HostileHealth:
    """A replica whose health service sends given answers as fast as it can."""

    def __init__(self, *answers: bytes) -> None:
        self.server = PingServer(None, "liar", watchable=False)
        self.server.also = self._serve
        self._answers = answers

    def _serve(self, server: grpc.aio.Server) -> None:
        handler: Any = grpc.unary_stream_rpc_method_handler(self._watch)
        service = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Watch": handler})
        server.add_generic_rpc_handlers([service])

    async def _watch(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        while True:
            for answer in self._answers:
                yield answer


async def test_an_endpoint_whose_health_is_garbage_is_not_picked_and_says_why() -> None:
    before = bad_values.counts["health"]
    async with PingServer(None, "honest") as honest, HostileHealth(b"\xff\xff").server as liar:
        resolver = FakeResolver(honest.endpoint, liar.endpoint)
        channel = MeshChannel("ping", MeshConfig("client"), identity=None, resolver=resolver)
        stub = PingServiceStub(channel)
        await channel.start()
        await eventually(lambda: "failed" in {e["state"] for e in channel.state()["endpoints"]}, within=15)
        assert {(await stub.Ping(PingRequest(), timeout=15)).replica for _ in range(6)} == {"honest"}
        [bad] = [e for e in channel.state()["endpoints"] if e["address"] == liar.endpoint]
        assert bad["error"] == "health watch: the answer is no HealthCheckResponse"
        assert bad_values.counts["health"] > before
        await channel.close()


async def test_an_endpoint_that_floods_its_watchers_is_read_slowly() -> None:
    changes: list[bool] = []
    serving, not_serving = b"\x08\x01", b"\x08\x02"
    liar = HostileHealth(serving, not_serving).server
    async with liar, grpc.aio.insecure_channel(liar.endpoint) as native:
        started = time.monotonic()
        watching = asyncio.create_task(HealthWatcher(native, changes.append, print).run())
        await eventually(lambda: len(changes) >= 10, within=15)
        watching.cancel()
        seconds = time.monotonic() - started
    assert len(changes) <= seconds / GAP + 1
