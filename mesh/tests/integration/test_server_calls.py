"""The four kinds of call through the stack: counts, cancellation, deadlines, handlers."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.call import current_call
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, PingServiceStub
from tests.integration.callkit import collect, requests
from tests.integration.serverkit import Served, failure, serve, until


async def test_messages_are_counted_in_all_four_kinds(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        stub = PingServiceStub(channel)
        assert (await stub.Ping(PingRequest(text="a"))).text == "a"
        assert [r.number for r in await collect(stub.Count(PingRequest(count=4)))] == [1, 2, 3, 4]
        assert (await stub.Sum(requests(5))).number == 5
        assert [r.text for r in await collect(stub.Echo(requests(2)))] == ["0", "1"]
        for method, received, sent in [("Ping", 1, 1), ("Count", 1, 4), ("Sum", 5, 1), ("Echo", 2, 2)]:
            assert served.metric("grpc_server_msg_received_total", grpc_method=method) == received
            assert served.metric("grpc_server_msg_sent_total", grpc_method=method) == sent
            assert served.metric("grpc_server_handled_total", grpc_method=method, grpc_code="OK") == 1


async def test_a_caller_that_goes_away_is_cancelled_and_a_late_one_exceeded(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        stub = PingServiceStub(channel)
        call = stub.Ping(PingRequest(delay=30))
        await until(lambda: served.servicer.running == 1)
        call.cancel()
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="Cancelled") == 1)
        late = asyncio.ensure_future(failure(stub.Ping(PingRequest(delay=30), timeout=2)))
        await until(lambda: served.servicer.running == 1)
        assert (await late).code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="DeadlineExceeded") == 1)
        assert served.servicer.running == 0


async def test_the_finally_of_a_stream_runs_when_its_caller_goes_away(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        call = PingServiceStub(channel).Count(PingRequest(delay=0.001))
        await call.read()
        call.cancel()
        await until(lambda: served.servicer.running == 0)
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="Cancelled") == 1)


async def test_the_call_knows_its_deadline_and_is_current_in_every_kind(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Looking(PingServiceServicer):
        async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
            seen.append(current_call.get())
            return PingResponse()

        async def Count(self, request: PingRequest, context: Any) -> AsyncIterator[PingResponse]:
            seen.append(current_call.get())
            yield PingResponse()

    async with serve(tmp_path, Looking()) as served, served.channel() as channel:
        stub = PingServiceStub(channel)
        await stub.Ping(PingRequest(), timeout=60, metadata=(("x-a", "1"), ("x-a", "2")))
        await collect(stub.Count(PingRequest()))
        unary, stream = seen
        assert 10 < unary.deadline - unary.started <= 61  # the wire rounds up
        assert unary.metadata["x-a"] == "2"
        assert (unary.workload.service, stream.method.name, stream.deadline) == ("client", "Count", None)
        assert current_call.get() is None


async def test_a_generator_of_a_method_with_one_response_is_refused(tmp_path: Path) -> None:
    class Generating(PingServiceServicer):
        def Ping(self, request: PingRequest, context: Any) -> Iterator[PingResponse]:  # type: ignore[override]
            yield PingResponse()

    with pytest.raises(TypeError, match=r"mesh\.testing\.PingService/Ping: must be `async def`"):
        async with serve(tmp_path, Generating()):
            pass


async def test_handlers_without_registration_run_through_the_stack_too(tmp_path: Path) -> None:
    async def shout(request: bytes, context: Any) -> bytes:
        assert current_call.get() is not None
        return request.upper()

    served = Served(tmp_path)
    served.write_policy("[[allow]]\nfrom=['client']\nmethods=['raw.Raw/*']\n[users]\n'raw.Raw/*'='anyone'\n")
    served.policy.load()
    handler = grpc.unary_unary_rpc_method_handler(shout)
    served.server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("raw.Raw", {"Shout": handler})]
    )
    await served.server.start()
    try:
        async with served.channel() as channel:
            for _ in range(2):
                assert await channel.unary_unary("/raw.Raw/Shout")(b"a") == b"A"
        assert served.metric("grpc_server_handled_total", grpc_service="raw.Raw", grpc_code="OK") == 2
    finally:
        await served.server.stop(0)
