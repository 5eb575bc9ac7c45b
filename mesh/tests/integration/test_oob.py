"""Load reports out of band, over real gRPC on both sides."""

import asyncio

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grpcmesh.balancer import LoadReport, oob
from grpcmesh.balancer.orca import LoadReport as Report


@given(st.floats(1.0, 3600.0))
def test_an_interval_survives_the_wire(interval: float) -> None:
    assert oob.decode_request(oob.encode_request(interval)) == pytest.approx(interval, abs=1e-6)


@given(st.binary(max_size=40))
def test_any_request_gets_an_interval_within_bounds(data: bytes) -> None:
    assert oob.LEAST_INTERVAL <= oob.decode_request(data) <= 3600


async def serve(*handlers: grpc.GenericRpcHandler) -> tuple[grpc.aio.Server, str]:
    server = grpc.aio.server(handlers=handlers)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    return server, f"127.0.0.1:{port}"


async def test_a_client_hears_the_reports_of_a_server() -> None:
    told = LoadReport(cpu_utilization=0.5, application_utilization=0.25, qps=10, eps=1)
    server, address = await serve(oob.handler(lambda: told))
    heard: asyncio.Queue[Report] = asyncio.Queue()
    async with grpc.aio.insecure_channel(address) as channel:
        reports = asyncio.create_task(oob.OobReports(channel, 1.0, heard.put_nowait).run())
        async with asyncio.timeout(20):
            assert [await heard.get(), await heard.get()] == [told, told]
        reports.cancel()
        await asyncio.wait([reports])
    await server.stop(None)


async def test_a_server_without_reports_is_asked_once() -> None:
    server, address = await serve()
    async with grpc.aio.insecure_channel(address) as channel, asyncio.timeout(20):
        await oob.OobReports(channel, 1.0, lambda _: None).run()
    await server.stop(None)
