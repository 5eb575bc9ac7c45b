"""gRPC's interop cases `orca_per_rpc` and `orca_oob`, with grpc-go both ways over mutual TLS.

A load report of a test comes from its client, so the test service itself reports it, as an application does
that reports a measure of its own. The mesh's own reports are off.
"""

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

from grpcmesh.balancer.oob import OobReports
from grpcmesh.balancer.orca import STANDARD_LOAD_KEY
from grpcmesh.client.channel import MeshChannel
from grpcmesh.resolver import StaticResolver
from grpcmesh.service_config import ServiceConfigStore, parse
from tests.conformance.test_interop import (
    CHANNELS,
    SERVERS,
    TIMEOUT,
    Peers,
    bare_channel,
    config,
    go_server,
    identity,
    peers,
)
from tests.integration.serverkit import until

__all__ = ["peers"]  # a fixture

OUT_OF_BAND = {"enableOobLoadReport": True, "oobReportingPeriod": "1s", "blackoutPeriod": "0s"}
SETTINGS = parse(json.dumps({"loadBalancingConfig": [{"weighted_round_robin": OUT_OF_BAND}]}))
#: The CPU utilization of the two reports of `orca_oob`.
UTILIZATION = (0.8210, 0.29309)


@pytest.mark.parametrize("name", ["orca_per_rpc", "orca_oob"])
@pytest.mark.parametrize("kind", SERVERS)
async def test_the_client_of_grpc_go_gets_the_reports_of_our_server(
    peers: Peers, kind: str, name: str
) -> None:
    async with SERVERS[kind](peers) as port:
        process = await asyncio.create_subprocess_exec(
            *(peers.program, "client", peers.directory / "client", f"127.0.0.1:{port}", "server", name),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(), TIMEOUT)
    assert (out.decode().split(), process.returncode) == ([name], 0), err.decode()[-2000:]


@pytest.mark.parametrize("kind", CHANNELS)
async def test_c_core_hides_the_report_of_a_call_from_our_client_and_from_a_bare_one(
    peers: Peers, kind: str
) -> None:
    """`orca_per_rpc` cannot pass in Python. If this test fails, C-core has changed: run the case then."""
    report = peers.messages.TestOrcaReport(cpu_utilization=UTILIZATION[0], utilization={"util": 0.30499})
    request = peers.messages.SimpleRequest(orca_per_query_report=report)
    async with go_server(peers) as port, CHANNELS[kind](peers, port) as channel:
        call = peers.rpc.TestServiceStub(channel).UnaryCall(request, timeout=60)
        await call
        assert STANDARD_LOAD_KEY not in [key for key, _ in await call.trailing_metadata()]


@asynccontextmanager
async def reported_to_the_mesh(peers: Peers, port: int) -> AsyncIterator[Any]:
    """Yield a function that returns the last utilization that a channel of the mesh was told."""
    settings = config(peers, "client")
    resolver = StaticResolver([f"127.0.0.1:{port}"])
    weighted = ServiceConfigStore(code={"server": SETTINGS})
    async with MeshChannel(
        "server", settings, identity=identity(settings), resolver=resolver, service_config=weighted
    ) as channel:
        await channel.channel_ready()

        def told() -> float | None:
            load = channel.state()["endpoints"][0]["load"]
            return load["utilization"] if load.get("source") == "stream" else None

        yield told


@asynccontextmanager
async def reported_to_a_bare_channel(peers: Peers, port: int) -> AsyncIterator[Any]:
    """Yield the same for the stream's reader on a bare channel."""
    reports: list[float] = []
    async with bare_channel(peers, port) as channel:
        reading = asyncio.create_task(
            OobReports(channel, 1.0, lambda report: reports.append(report.utilization)).run()
        )
        try:
            yield lambda: reports[-1] if reports else None
        finally:
            reading.cancel()


@pytest.mark.parametrize("reported", [reported_to_the_mesh, reported_to_a_bare_channel], ids=["mesh", "bare"])
async def test_our_client_gets_the_reports_of_the_server_of_grpc_go_out_of_band(
    peers: Peers, reported: Any
) -> None:
    """Each report is read on a new stream, because grpc-go repeats reports only every 30 s."""
    async with go_server(peers) as port, bare_channel(peers, port) as asking:
        call = peers.rpc.TestServiceStub(asking).FullDuplexCall()
        for utilization in UTILIZATION:
            report = peers.messages.TestOrcaReport(cpu_utilization=utilization, memory_utilization=0.5847)
            size = peers.messages.ResponseParameters(size=1)
            request = peers.messages.StreamingOutputCallRequest(
                orca_oob_report=report, response_parameters=[size]
            )
            await call.write(request)
            assert await call.read() is not grpc.aio.EOF
            async with reported(peers, port) as told:
                await until(functools.partial(_equal, told, utilization))
        call.cancel()


def _equal(told: Callable[[], float | None], wanted: float) -> bool:
    return told() == wanted
