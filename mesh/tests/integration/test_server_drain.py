"""Draining without losing a call, and telling streams to resume elsewhere."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh.health.list_pb2 import HealthListResponse
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, PingServiceStub
from tests.integration.endkit import answer, begin
from tests.integration.serverkit import Served, failure, serve, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def collect(call: Any) -> list[PingResponse]:
    return [response async for response in call]


async def call_until_not_serving(served: Served, channel: grpc.aio.Channel) -> int:
    """Call while health says SERVING, as a good client does. Return the number of calls made."""
    stub, serving, made = PingServiceStub(channel), True, 0

    async def watch() -> None:
        nonlocal serving
        call = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        while (await call.read()).status == SERVING:
            pass
        serving = False
        call.cancel()

    watching = asyncio.create_task(watch())
    while serving:
        await stub.Ping(PingRequest(delay=0.01))
        made += 1
    await watching
    return made


async def test_a_drain_loses_no_call(tmp_path: Path) -> None:
    async with serve(tmp_path, delay=2) as served:
        channels = [served.channel() for _ in range(4)]
        callers = [asyncio.create_task(call_until_not_serving(served, c)) for c in channels for _ in range(4)]
        await until(lambda: served.servicer.calls["Ping"] > 50)
        await served.server.drain()
        made = await asyncio.gather(*callers)
        assert sum(made) == served.servicer.calls["Ping"]
        assert served.metric("grpc_server_handled_total", grpc_method="Ping", grpc_code="OK") == sum(made)
        assert served.metric("mesh_draining") == 1
        assert served.metric("mesh_serving") == 0
        for channel in channels:
            await channel.close()


async def test_a_call_under_way_is_finished_within_the_grace(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        call = asyncio.ensure_future(wait_for(PingServiceStub(channel).Ping(PingRequest(delay=0.5))))
        await until(lambda: served.servicer.running == 1)
        await served.server.drain()
        assert (await call).replica == "ping-1"


async def wait_for(call: Any) -> Any:
    return await call


@pytest.mark.parametrize("method", ["Ping", "Count", "Sum", "Echo"])
async def test_what_outlasts_the_grace_is_unavailable_and_says_why(tmp_path: Path, method: str) -> None:
    async with serve(tmp_path, grace=0.3, stream_grace=60) as served, served.channel() as channel:
        call = begin(PingServiceStub(channel), method, PingRequest(delay=60))
        failing = asyncio.ensure_future(failure(answer(call)))
        await until(lambda: served.servicer.running == 1)
        await served.server.drain()
        error = await failing
        assert (error.code(), error.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "this replica has stopped before it had answered",
        )
        await until(lambda: served.servicer.running == 0)
        assert served.metric("grpc_server_handled_total", grpc_code="Unavailable", grpc_method=method) == 1


async def test_an_endless_stream_is_told_to_resume_elsewhere(tmp_path: Path) -> None:
    async with serve(tmp_path, grace=30) as served, served.channel() as channel:
        call = aiter(PingServiceStub(channel).Count(PingRequest(delay=0.01)))
        await anext(call)
        error, _ = await asyncio.gather(failure(collect(call)), served.server.drain())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "resume" in error.details()
        assert ("mesh-replica", "ping-1") in tuple(error.trailing_metadata())
        assert served.metric("grpc_server_handled_total", grpc_method="Count", grpc_code="Unavailable") == 1
        assert served.servicer.running == 0


async def test_a_stream_that_waits_for_something_to_happen_is_ended_too(tmp_path: Path) -> None:
    async with serve(tmp_path, grace=30) as served, served.channel() as channel:
        call = PingServiceStub(channel).Count(PingRequest(delay=3600))
        drained = asyncio.create_task(failure(collect(call)))
        await until(lambda: served.servicer.running == 1)
        await served.server.drain()
        assert (await drained).code() is grpc.StatusCode.UNAVAILABLE


async def test_a_short_stream_finishes_by_itself(tmp_path: Path) -> None:
    async with serve(tmp_path, stream_grace=5) as served, served.channel() as channel:
        call = aiter(PingServiceStub(channel).Count(PingRequest(count=20, delay=0.02)))
        first = await anext(call)
        rest, _ = await asyncio.gather(collect(call), served.server.drain())
        assert [first.number, *(r.number for r in rest)] == list(range(1, 21))
        assert served.metric("mesh_drain_streams_ended_total") == 0


async def test_a_bidirectional_stream_is_ended_between_two_requests_never_within_one(tmp_path: Path) -> None:
    begun, finished = asyncio.Event(), 0

    class Settling(PingServiceServicer):
        async def Echo(
            self, requests: AsyncIterator[PingRequest], context: Any
        ) -> AsyncIterator[PingResponse]:
            nonlocal finished
            async for request in requests:
                begun.set()
                await asyncio.sleep(request.delay)
                finished += 1
                yield PingResponse(text=request.text)

    async with serve(tmp_path, Settling(), grace=30) as served, served.channel() as channel:
        call = PingServiceStub(channel).Echo()
        await call.write(PingRequest(text="paid", delay=0.5))
        await begun.wait()
        draining = asyncio.create_task(served.server.drain())
        assert (await call.read()).text == "paid"
        error = await failure(call.read())
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert finished == 1
        await draining


async def test_an_idle_bidirectional_stream_is_ended(tmp_path: Path) -> None:
    async with serve(tmp_path, grace=30) as served, served.channel() as channel:
        call = PingServiceStub(channel).Echo()
        await call.write(PingRequest(text="a"))
        await call.read()
        error, _ = await asyncio.gather(failure(call.read()), served.server.drain())
        assert error.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_stream_whose_caller_reads_slowly_is_ended_after_the_message_in_flight(
    tmp_path: Path,
) -> None:
    class Flooding(PingServiceServicer):
        async def Count(self, request: PingRequest, context: Any) -> AsyncIterator[PingResponse]:
            number = 0
            while True:
                number += 1
                yield PingResponse(number=number, text="x" * 100_000)

    async with serve(tmp_path, Flooding(), grace=30) as served, served.channel() as channel:
        call = PingServiceStub(channel).Count(PingRequest())
        numbers = [(await call.read()).number]
        draining = asyncio.create_task(served.server.drain())
        await until(lambda: served.metric("mesh_drain_streams_ended_total") == 1)
        error = None
        while error is None:
            try:
                numbers.append((await call.read()).number)
            except grpc.aio.AioRpcError as e:
                error = e
        await draining
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert numbers == list(range(1, len(numbers) + 1))


async def test_health_tells_check_watch_and_list_through_mutual_tls(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        name = "mesh.testing.PingService"
        assert (await stub.Check(health_pb2.HealthCheckRequest(service=name))).status == SERVING
        error = await failure(stub.Check(health_pb2.HealthCheckRequest(service="no.Such")))
        assert error.code() is grpc.StatusCode.NOT_FOUND
        listing = await channel.unary_unary("/grpc.health.v1.Health/List")(b"")
        # grpcio-health-checking has had the message since 1.85.
        message: Any = getattr(health_pb2, "HealthListResponse", HealthListResponse)
        statuses = message.FromString(listing).statuses
        assert {k: v.status for k, v in statuses.items()} == {"": SERVING, name: SERVING}
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=name))
        assert (await watch.read()).status == SERVING
        served.health.set(name, False)
        assert (await asyncio.wait_for(watch.read(), 60)).status == NOT_SERVING
        served.health.set(name, True)
        assert (await asyncio.wait_for(watch.read(), 60)).status == SERVING
        watch.cancel()


async def test_any_workload_may_ask_for_health_reflection_and_channelz(tmp_path: Path) -> None:
    from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
    from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

    async with serve(tmp_path) as served, served.channel(served.ca.issue("stranger")) as channel:
        stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
        call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
        names = [s.name async for r in call for s in r.list_services_response.service]
        assert set(names) >= {
            "mesh.testing.PingService",
            "grpc.health.v1.Health",
            "grpc.channelz.v1.Channelz",
        }
        servers = await channelz_pb2_grpc.ChannelzStub(channel).GetServers(channelz_pb2.GetServersRequest())
        assert servers.server
        health: Any = health_pb2_grpc.HealthStub(channel)
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == SERVING
