"""Servicers whose methods are plain functions, which run in threads."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.call import current_call, current_workload
from grpcmesh.client.machines import Status
from grpcmesh.client.sync.errors import MeshRpcError
from grpcmesh.config import ServerConfig
from grpcmesh.errors import NotFound
from grpcmesh.server.plain import CallEndedError
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import (
    PingServiceServicer,
    PingServiceStub,
    add_PingServiceServicer_to_server,
)
from tests.integration.callkit import collect, requests
from tests.integration.serverkit import Served, failure, serve, until

METHODS = ["Ping", "Count", "Sum", "Echo"]


class Plain(PingServiceServicer):
    """A servicer for threads. Each method calls `step`, which tests replace, with the context."""

    def __init__(self, step: Callable[[Any], Any] = lambda context: None) -> None:
        self.step = step
        self.ended: list[str] = []

    def Ping(self, request: PingRequest, context: Any) -> PingResponse:  # type: ignore[override]
        self.step(context)
        return PingResponse(text=request.text, replica=threading.current_thread().name)

    def Count(self, request: PingRequest, context: Any) -> Iterator[PingResponse]:  # type: ignore[override]
        try:
            for number in range(1, request.count + 1):
                self.step(context)
                yield PingResponse(number=number)
        finally:
            self.ended.append("Count")

    def Sum(self, requests: Iterator[PingRequest], context: Any) -> PingResponse:  # type: ignore[override]
        self.step(context)
        return PingResponse(number=sum(1 for _ in requests))

    def Echo(self, requests: Iterator[PingRequest], context: Any) -> Iterator[PingResponse]:  # type: ignore[override]
        try:
            for request in requests:
                self.step(context)
                yield PingResponse(text=request.text)
        finally:
            self.ended.append("Echo")

    async def Poke(self, request: PingRequest, context: Any) -> PingResponse:
        return PingResponse(text="asynchronous")


async def _call(stub: Any, method: str) -> Any:
    """Make a call of this kind and return its responses."""
    request = PingRequest(text="x", count=2)
    if method in ("Ping", "Poke"):
        return [await getattr(stub, method)(request)]
    if method == "Sum":
        return [await stub.Sum(requests(2))]
    return await collect(stub.Count(request) if method == "Count" else stub.Echo(requests(2)))


async def test_calls_of_each_kind_run_in_threads(tmp_path: Path) -> None:
    seen: list[Any] = []

    def step(context: Any) -> None:
        workload = current_workload()
        seen.append((threading.current_thread().name, workload and workload.service, current_call.get()))
        assert 1 < context.time_remaining() <= 61
        assert context.is_active()
        assert dict(context.invocation_metadata())["x-sent"] == "yes"
        assert context.peer().startswith("ipv4:")

    async with serve(tmp_path, Plain(step)) as served, served.channel() as channel:
        stub: Any = PingServiceStub(channel)
        with_metadata: dict[str, Any] = {"metadata": (("x-sent", "yes"),), "timeout": 60}
        assert (await stub.Ping(PingRequest(text="x"), **with_metadata)).text == "x"
        counted = await collect(stub.Count(PingRequest(count=3), **with_metadata))
        assert [m.number for m in counted] == [1, 2, 3]
        assert (await stub.Sum(requests(3), **with_metadata)).number == 3
        assert [m.text for m in await collect(stub.Echo(requests(3), **with_metadata))] == ["0", "1", "2"]
        assert (await stub.Poke(PingRequest())).text == "asynchronous"
    assert len(seen) == 1 + 3 + 1 + 3
    assert all(name.startswith("grpcmesh servicer") and call is not None for name, _, call in seen)
    assert {workload for _, workload, _ in seen} == {"client"}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("swallowed", [False, True])
async def test_abort(tmp_path: Path, method: str, swallowed: bool) -> None:
    def step(context: Any) -> None:
        try:
            context.abort(grpc.StatusCode.ABORTED, "not now", (("x-why", "busy"),))
        except Exception:
            if not swallowed:
                raise

    async with serve(tmp_path, Plain(step)) as served, served.channel() as channel:
        error = await failure(_call(PingServiceStub(channel), method))
        assert (error.code(), error.details()) == (grpc.StatusCode.ABORTED, "not now")
        assert dict(error.trailing_metadata() or ())["x-why"] == "busy"


@pytest.mark.parametrize("method", METHODS)
async def test_errors_are_mapped_as_for_coroutines(tmp_path: Path, method: str) -> None:
    down = MeshRpcError(Status(grpc.StatusCode.UNAVAILABLE, "10.0.0.7 is down"))
    cases: list[tuple[BaseException, grpc.StatusCode]] = [
        (NotFound("item", "7"), grpc.StatusCode.NOT_FOUND),
        (KeyError("secret"), grpc.StatusCode.INTERNAL),
        (down, grpc.StatusCode.UNAVAILABLE),
        (MeshRpcError(Status(grpc.StatusCode.NOT_FOUND, "of a service behind")), grpc.StatusCode.INTERNAL),
    ]
    servicer = Plain()
    async with serve(tmp_path, servicer) as served, served.channel() as channel:
        for raised, code in cases:

            def step(context: Any, raised: BaseException = raised) -> None:
                raise raised

            servicer.step = step
            error = await failure(_call(PingServiceStub(channel), method))
            assert error.code() is code
            assert "secret" not in (error.details() or "")
            assert "10.0.0.7" not in (error.details() or "")


async def test_status_and_metadata_of_the_context(tmp_path: Path) -> None:
    def step(context: Any) -> None:
        context.send_initial_metadata((("x-first", "1"),))
        context.set_trailing_metadata((("x-last", "2"),))
        context.set_code(grpc.StatusCode.DATA_LOSS)
        context.set_details("half of it")

    async with serve(tmp_path, Plain(step)) as served, served.channel() as channel:
        error = await failure(PingServiceStub(channel).Ping(PingRequest()))
        assert (error.code(), error.details()) == (grpc.StatusCode.DATA_LOSS, "half of it")
        assert dict(error.initial_metadata() or ())["x-first"] == "1"
        assert dict(error.trailing_metadata() or ())["x-last"] == "2"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_a_servicer_learns_that_its_call_has_ended(tmp_path: Path, method: str, how: str) -> None:
    began, ended, over = threading.Event(), threading.Event(), threading.Event()
    activity: list[object] = []

    def step(context: Any) -> None:
        if began.is_set():
            return
        assert context.add_callback(ended.set)
        began.set()
        assert ended.wait(60)
        activity.extend([context.is_active(), context.add_callback(over.set)])
        over.set()

    servicer = Plain(step)
    async with serve(tmp_path, servicer) as served, served.channel() as channel:
        stub: Any = PingServiceStub(channel)
        await channel.channel_ready()
        sent = requests(1) if method in ("Sum", "Echo") else PingRequest(count=2)
        call = getattr(stub, method)(sent, timeout=2 if how == "deadline" else 60)
        first = asyncio.ensure_future(call.read() if method in ("Count", "Echo") else _await(call))
        await until(began.is_set)
        if how == "cancel":
            call.cancel()
        await until(over.is_set)
        await asyncio.wait([first])
        assert activity == [False, False]
        if method in ("Count", "Echo"):
            await until(lambda: servicer.ended or method == "Echo")


async def _await(call: Any) -> Any:
    return await call


async def test_a_response_after_the_end_raises(tmp_path: Path) -> None:
    raised: list[BaseException] = []

    class Late(Plain):
        def Count(self, request: PingRequest, context: Any) -> Iterator[PingResponse]:  # type: ignore[override]
            ended = threading.Event()
            context.add_callback(ended.set)
            yield PingResponse(number=1)
            assert ended.wait(60)
            try:
                context.wait(context.write(PingResponse()))
            except CallEndedError as e:
                raised.append(e)

    async with serve(tmp_path, Late()) as served, served.channel() as channel:
        call = PingServiceStub(channel).Count(PingRequest())
        await call.read()
        call.cancel()
        await until(lambda: raised)


async def test_a_stream_of_requests_ends_with_its_call(tmp_path: Path) -> None:
    servicer = Plain()
    async with serve(tmp_path, servicer) as served, served.channel() as channel:
        stub: Any = PingServiceStub(channel)
        call = stub.Echo()
        await call.write(PingRequest(text="x"))
        assert (await call.read()).text == "x"
        call.cancel()
        await until(lambda: servicer.ended == ["Echo"])


async def test_calls_beyond_the_threads_wait_and_the_loop_goes_on(tmp_path: Path) -> None:
    release, running, most = threading.Event(), [0], [0]
    lock = threading.Lock()

    def step(context: Any) -> None:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        assert release.wait(60)
        with lock:
            running[0] -= 1

    served = Served(tmp_path, Plain(step), port=ServerConfig(threads=2))
    add_PingServiceServicer_to_server(served.servicer, served.server)
    await served.server.start()
    try:
        async with served.channel() as channel:
            stub: Any = PingServiceStub(channel)
            calls = [stub.Ping(PingRequest(), timeout=60) for _ in range(6)]
            await until(lambda: running[0] == 2)
            late = stub.Ping(PingRequest(), timeout=0.2)
            assert (await failure(late)).code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert (await stub.Poke(PingRequest(), timeout=60)).text == "asynchronous"
            release.set()
            assert len(await asyncio.gather(*calls)) == 6
            assert most == [2]
    finally:
        await served.server.stop(0)


async def test_a_drain_ends_streams_of_plain_servicers(tmp_path: Path) -> None:
    def step(context: Any) -> None:
        time.sleep(0.01)

    servicer = Plain(step)
    async with serve(tmp_path, servicer) as served, served.channel() as channel:
        call = PingServiceStub(channel).Count(PingRequest(count=1_000_000))
        responses = aiter(call)
        assert (await anext(responses)).number == 1
        draining = asyncio.create_task(served.server.drain())
        error = await failure(collect(responses))
        assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert "resume at another" in (error.details() or "")
        await draining
        await until(lambda: servicer.ended == ["Count"])
