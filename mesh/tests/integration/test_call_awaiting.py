"""Tasks that await a unary call: each hears of its end what is its own, however many there are."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.client.channel import MeshChannel
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.replicas import CONFIG, Cluster, cluster, eventually


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 1) as made:
        yield made


async def under_way(ping: Cluster, channel: MeshChannel, delay: float = 30) -> Any:
    """Make a call that its server holds, and return it."""
    call = PingServiceStub(channel).Ping(PingRequest(delay=delay), timeout=20)
    await eventually(lambda: ping.servers[0].servicer.running == 1)
    return call


async def waits(call: Any) -> Any:
    return await call


def cut(channel: MeshChannel) -> None:
    """Make the channel close the connections of its running calls."""
    for flight in tuple(channel._core.calls):
        flight.attempt.connection.cut("the test cuts it")


@pytest.mark.parametrize("cancelled", [0, 1])
async def test_where_one_of_two_tasks_is_cancelled_both_hear_it_and_nothing_is_retried(
    ping: Cluster, cancelled: int
) -> None:
    channel = ping.open()
    call = await under_way(ping, channel)
    tasks = [asyncio.create_task(waits(call)) for _ in range(2)]
    await asyncio.sleep(0)
    tasks[cancelled].cancel()
    await asyncio.wait(tasks, timeout=60)
    assert [task.cancelled() for task in tasks] == [True, True]
    assert (call.cancelled(), call.attempts, await call.code()) == (True, 1, grpc.StatusCode.CANCELLED)


async def test_both_of_two_tasks_have_the_answer(ping: Cluster) -> None:
    call = await under_way(ping, ping.open(), delay=0.05)
    async with asyncio.timeout(60):
        answers = await asyncio.gather(waits(call), waits(call))
    assert answers[0] is answers[1]
    assert isinstance(answers[0], PingResponse)


async def test_a_task_that_cancels_itself_and_then_awaits_a_call_is_cancelled(ping: Cluster) -> None:
    call = await under_way(ping, ping.open())

    async def itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await call

    task = asyncio.create_task(itself())
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()
    assert call.cancelled()


async def test_a_task_that_was_cancelled_before_is_not_cancelled_again_by_a_connection_that_is_cut(
    ping: Cluster,
) -> None:
    channel = ping.open()
    begun = asyncio.Event()

    async def cleans_up() -> Any:
        try:
            begun.set()
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            return await PingServiceStub(channel).Ping(PingRequest(delay=0.3), timeout=60)

    task = asyncio.create_task(cleans_up())
    await begun.wait()
    task.cancel()
    await eventually(lambda: ping.servers[0].servicer.running == 1)
    cut(channel)
    async with asyncio.timeout(60):
        assert isinstance(await task, PingResponse)


async def test_a_call_ends_although_the_coroutine_that_awaited_it_is_closed(ping: Cluster) -> None:
    call = await under_way(ping, ping.open(), delay=0.05)
    steps = call.__await__()
    next(steps)
    steps.close()
    await eventually(call.done)
    assert await call.code() is grpc.StatusCode.OK
    assert isinstance(await call, PingResponse)


async def test_a_call_ends_although_its_response_came_while_the_coroutine_was_closed(ping: Cluster) -> None:
    call = await under_way(ping, ping.open(), delay=0.05)
    steps = call.__await__()
    next(steps)
    native = call._flight.attempt.native
    await eventually(native.done)
    assert not call.done()  # the coroutine would take the response
    steps.close()
    await eventually(call.done)
    assert isinstance(await call, PingResponse)


async def test_a_task_that_is_cancelled_in_the_instant_in_which_the_connection_is_cut_is_cancelled(
    ping: Cluster,
) -> None:
    channel = ping.open()
    call = await under_way(ping, channel)
    task = asyncio.create_task(waits(call))
    await asyncio.sleep(0)
    cut(channel)
    task.cancel()
    await asyncio.wait([task], timeout=60)
    assert task.cancelled()
    assert call.cancelled()


@pytest.mark.parametrize("operation", ["write", "wait_for_connection", "done_writing"])
@pytest.mark.parametrize("how", ["deadline", "cut", "cancel"])
async def test_a_request_that_waits_for_a_free_stream_ends_with_its_call(
    tmp_path: Path, how: str, operation: str
) -> None:
    """The server takes one stream at a time, so that the metadata of the second waits at the client."""
    server = PingServer(None, options=[("grpc.max_concurrent_streams", 1)], watchable=False)
    async with (
        server,
        MeshChannel("ping", CONFIG, identity=None, resolver=FakeResolver(server.endpoint)) as channel,
    ):
        stub = PingServiceStub(channel)
        await channel.channel_ready()
        first = stub.Poke(PingRequest(delay=3600))
        await eventually(lambda: server.servicer.running == 1)
        call = stub.Echo(timeout=1.0 if how == "deadline" else 600)
        arguments = [PingRequest()] if operation == "write" else []
        task = asyncio.create_task(getattr(call, operation)(*arguments))
        await asyncio.sleep(0.01)
        if how == "cut":
            cut(channel)
        elif how == "cancel":
            call.cancel()
        await asyncio.wait([task], timeout=60)
        assert task.done()
        await eventually(call.done)
        first.cancel()
        code = {"deadline": "DEADLINE_EXCEEDED", "cut": "UNAVAILABLE", "cancel": "CANCELLED"}[how]
        assert (await call.code()).name == code
