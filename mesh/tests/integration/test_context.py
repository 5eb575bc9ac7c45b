"""What tasks inherit from the call that a server serves, over the wire and through a real handler."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.call import current_call, current_principal, current_workload
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import DeadlineConfig, MeshConfig
from grpcmesh.tasks import Tasks
from grpcmesh.telemetry import current_baggage, current_trace
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, PingServiceStub
from grpcmesh.testing.resolver import FakeResolver
from tests.integration.serverkit import serve, until

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

Work = Callable[[], Coroutine[Any, Any, None]]


class Starter(PingServiceServicer):
    """A servicer that starts background work, and then answers.

    Args:
        start: Starts the work, such as `asyncio.create_task`.
        work: The background work.
        waits: Whether the handler waits until its caller gives up, rather than answer.
    """

    def __init__(self, start: Callable[[Any], Any], work: Work, waits: bool = False) -> None:
        self._start, self._work, self._waits = start, work, waits
        self.task: asyncio.Task[None] | None = None

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        self.task = self._start(self._work())
        if self._waits:
            await asyncio.Event().wait()
        return PingResponse()


#: Default deadline of the channel to the other server (s).
DEFAULT = 60.0


@pytest.fixture
async def downstream() -> Any:
    """Yield a stub on a mesh channel to another server."""
    async with PingServer(None) as server:
        channel = MeshChannel(
            "ping",
            MeshConfig("client", deadline=DeadlineConfig(default=DEFAULT)),
            identity=None,
            resolver=FakeResolver(server.endpoint),
        )
        await channel.channel_ready()
        yield PingServiceStub(channel)
        await channel.close()


#: Timeout of the call that starts the poller (s); its server has to see it, however busy the machine.
TIMEOUT = 2.0


@pytest.mark.parametrize("waits", [False, True])
async def test_a_poller_started_by_a_handler_outlives_the_deadline_of_its_caller(
    tmp_path: Path, downstream: Any, waits: bool
) -> None:
    answers: list[PingResponse] = []

    async def poll() -> None:
        await asyncio.sleep(TIMEOUT + 0.05)  # until the deadline of the call has passed
        answers.append(await downstream.Ping(PingRequest(text="poll")))
        answers.append(await downstream.Ping(PingRequest(text="poll")))

    starter = Starter(asyncio.create_task, poll, waits)
    async with serve(tmp_path, starter) as served, served.channel() as channel:
        await channel.channel_ready()
        call = PingServiceStub(channel).Ping(PingRequest(), timeout=TIMEOUT)
        if waits:
            with pytest.raises(grpc.aio.AioRpcError):
                await call
        else:
            await call
        assert starter.task is not None
        await starter.task
    assert [a.text for a in answers] == ["poll", "poll"]
    assert all(TIMEOUT < a.time_remaining < DEFAULT + 1.1 for a in answers)


async def test_a_task_that_outlives_the_call_belongs_to_nobody(tmp_path: Path) -> None:
    during: list[Any] = []
    after: list[Any] = []
    answered = asyncio.Event()

    async def look() -> None:
        during.extend((current_workload(), current_trace(), current_call.get()))
        await answered.wait()
        after.extend((current_workload(), current_principal(), current_trace(), current_call.get()))

    starter = Starter(asyncio.create_task, look, waits=True)
    async with serve(tmp_path, starter) as served, served.channel() as channel:
        call = PingServiceStub(channel).Ping(PingRequest(), metadata=(("traceparent", TRACEPARENT),))
        await until(lambda: during)
        call.cancel()
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="Cancelled") == 1)
        answered.set()
        assert starter.task is not None
        await starter.task
    workload, trace, serving = during
    assert (workload.service, trace.trace_id) == ("client", "0af7651916cd43dd8448eb211c80319c")
    assert serving.over
    assert after == [None, None, None, None]


async def test_spawned_work_starts_clean_while_the_call_lives(tmp_path: Path, downstream: Any) -> None:
    seen: list[Any] = []
    looked = asyncio.Event()

    async def look() -> None:
        seen.extend((current_workload(), current_principal(), current_trace(), current_call.get()))
        seen.append((await downstream.Ping(PingRequest())).time_remaining)
        looked.set()

    tasks = Tasks()
    starter = Starter(tasks.spawn, look, waits=True)
    async with serve(tmp_path, starter) as served, served.channel() as channel:
        await channel.channel_ready()
        call = PingServiceStub(channel).Ping(PingRequest(), timeout=TIMEOUT)
        async with asyncio.timeout(DEFAULT):
            await looked.wait()
        call.cancel()
        await tasks.aclose()
    *inherited, remaining = seen
    assert inherited == [None, None, None, None]
    assert remaining > TIMEOUT + 0.1  # not bounded by the call that is being served


@pytest.mark.parametrize(
    ("target", "baggage"), [("ping", "tenant=se%63ret,more=1;p"), ("ping.example.com", None)]
)
async def test_trace_state_and_baggage_travel_and_are_not_logged(
    tmp_path: Path, target: str, baggage: str | None
) -> None:
    class Forwarding(PingServiceServicer):
        async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
            assert current_baggage() == {"tenant": "secret", "more": "1"}
            response: PingResponse = await PingServiceStub(onward).Ping(PingRequest())
            return response

    metadata = (
        ("traceparent", TRACEPARENT),
        ("tracestate", "vendor=1"),
        ("tracestate", "other=2"),
        ("baggage", "tenant=se%63ret"),
        ("baggage", "more=1;p"),
    )
    async with PingServer(None) as server, serve(tmp_path, Forwarding()) as served:
        resolver = FakeResolver(server.endpoint)
        config = MeshConfig("client")
        onward = MeshChannel(target, config, identity=None, telemetry=served.telemetry, resolver=resolver)
        async with served.channel() as channel:
            sent = (await PingServiceStub(channel).Ping(PingRequest(), metadata=metadata)).metadata
        await onward.close()
    assert (sent["traceparent"][3:35], sent["tracestate"]) == (TRACEPARENT[3:35], "vendor=1,other=2")
    assert sent.get("baggage") == baggage
    logged = "".join(served.log.lines)
    assert '"trace_id":"0af7651916cd43dd8448eb211c80319c"' in logged
    assert "tenant" not in logged
    assert "secret" not in logged


async def test_a_channel_that_its_first_call_starts_does_not_belong_to_that_call(tmp_path: Path) -> None:
    """The tasks of a channel live as long as the channel: resolver, connections, health watches."""
    contexts: list[Any] = []

    class Looking(FakeResolver):
        async def watch(self) -> Any:
            contexts.append((current_call.get(), current_trace()))
            async for addresses in super().watch():
                yield addresses

    async with PingServer(None) as server:
        resolver = Looking(server.endpoint)
        channel = MeshChannel("ping", MeshConfig("client"), identity=None, resolver=resolver)
        stub = PingServiceStub(channel)

        async def first_call() -> None:
            await stub.Ping(PingRequest())

        starter = Starter(asyncio.create_task, first_call, waits=True)
        async with serve(tmp_path, starter) as served, served.channel() as entry:
            call = PingServiceStub(entry).Ping(PingRequest(), timeout=5)
            await until(lambda: contexts)
            call.cancel()
            assert starter.task is not None
            await starter.task
        await channel.close()
    assert contexts == [(None, None)]
