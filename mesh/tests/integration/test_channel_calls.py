"""The four kinds of call on a MeshChannel, and what a call object promises."""

import asyncio
import gc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.call import ClientCall, ClientLayer, Kind, Method, ServerCall, current_call
from grpcmesh.errors import FailedPrecondition
from grpcmesh.status import from_wire
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.replicas import Cluster, cluster, eventually


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 2) as made:
        yield made


async def make(ping: Cluster, method: str, request: PingRequest) -> None:
    """One call with one request, to its end."""
    match method:
        case "Ping":
            await ping.stub.Ping(request)
        case "Count":
            _ = [m async for m in ping.stub.Count(request)]
        case "Sum":
            await ping.stub.Sum(iter([request]))
        case _:
            _ = [m async for m in ping.stub.Echo(iter([request]))]


async def test_a_unary_call_tells_which_endpoint_answered(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="hello"))
    response = await call
    assert response.text == "hello"
    assert call.endpoint in {s.endpoint for s in ping.servers}
    assert await call.code() is grpc.StatusCode.OK
    assert await call.details() == ""
    assert call.done()
    assert not call.cancelled()


async def test_a_call_may_be_awaited_twice(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="x"))
    assert (await call).text == (await call).text == "x"


async def test_a_server_stream_is_iterated_to_its_end(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest(count=3))
    assert [m.number async for m in call] == [1, 2, 3]
    assert await call.code() is grpc.StatusCode.OK


async def test_a_server_stream_is_read_message_by_message(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest(count=2))
    messages = [await call.read() for _ in range(3)]
    assert [m.number for m in messages[:2]] == [1, 2]
    assert messages[2] is grpc.aio.EOF


async def test_a_client_stream_takes_an_iterator(ping: Cluster) -> None:
    requests = [PingRequest() for _ in range(3)]
    assert (await ping.stub.Sum(iter(requests))).number == 3


async def test_a_client_stream_is_written(ping: Cluster) -> None:
    call = ping.stub.Sum()
    for _ in range(3):
        await call.write(PingRequest())
    await call.done_writing()
    assert (await call).number == 3


async def test_a_bidirectional_stream_takes_an_async_iterator(ping: Cluster) -> None:
    async def requests() -> AsyncIterator[PingRequest]:
        for text in ("a", "b"):
            yield PingRequest(text=text)

    assert [m.text async for m in ping.stub.Echo(requests())] == ["a", "b"]


async def test_a_bidirectional_stream_is_written_and_read_in_turn(ping: Cluster) -> None:
    call = ping.stub.Echo()
    for text in ("a", "b"):
        await call.write(PingRequest(text=text))
        assert (await call.read()).text == text
    await call.done_writing()
    assert await call.read() is grpc.aio.EOF


async def test_metadata_goes_both_ways(ping: Cluster) -> None:
    for server in ping.servers:
        server.servicer.trailing = (("x-trailing", "yes"),)
    call = ping.stub.Ping(PingRequest(), metadata=(("x-sent", "yes"),))
    assert (await call).metadata["x-sent"] == "yes"
    assert ("x-trailing", "yes") in tuple(await call.trailing_metadata())
    assert len(tuple(await call.initial_metadata())) >= 0


REFUSED_METADATA: list[Any] = [
    (("k", "ü"),),
    (("k", "a\nb"),),
    (("k", "a\x7f"),),
    (("k", "\t"),),
    (("k", b"\xff"),),
    (("k", 1),),
    (("k", ["a"]),),
    (("x-bin", "str"),),
    (("x-bin", None),),
    (("x", "\ud800"),),
    (("\ud800", "x"),),
    (("Upper", "x"),),
    (("a b", "x"),),
    (("", "x"),),
    ((":path", "/x"),),
    ((b"\xff", "x"),),
    ((1, "x"),),
    (("one",),),
    (("one", "two", "three"),),
    ("text",),
    {"k": "value"},
    5,
]


def begin(ping: Cluster, method: str, request: PingRequest, **options: Any) -> Any:
    """A call that has just been made."""
    requests = [request] if method in ("Ping", "Poke", "Count") else []
    return getattr(ping.stub, method)(*requests, **options)


async def answer(call: Any) -> Any:
    """The first response."""
    return await (call.read() if hasattr(call, "read") else call)


@pytest.mark.parametrize("method", ["Ping", "Count", "Sum", "Echo"])
async def test_metadata_that_grpc_refuses_ends_its_call(ping: Cluster, method: str) -> None:
    for metadata in REFUSED_METADATA:
        call = begin(ping, method, PingRequest(), metadata=metadata)
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await answer(call)
        assert e.value.code() is grpc.StatusCode.INTERNAL, metadata
        assert "metadata was invalid" in (e.value.details() or "")
        assert call.done()
        assert ping.in_flight() == 0


async def test_metadata_that_grpc_takes_is_sent(ping: Cluster) -> None:
    taken: list[Any] = [
        ("x-bin", b"\xff\x00"),
        ("x", b"abc"),
        (b"x", "abc"),
        ("x", ""),
        ("x", " a "),
        ("x", None),
        ("x" * 2000, "a"),
    ]
    for pair in taken:
        await ping.stub.Ping(PingRequest(), metadata=(pair,))


async def test_metadata_of_more_than_a_server_takes_ends_its_call(ping: Cluster) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await ping.stub.Ping(PingRequest(), metadata=(("x", "a" * 100_000),))
    assert e.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert ping.in_flight() == 0


async def test_a_layer_that_adds_bad_metadata_costs_its_call_only(ping: Cluster) -> None:
    class Bad(ClientLayer):
        def on_start(self, call: ClientCall) -> None:
            call.metadata.append(("x-bin", "str"))

    async with ping.open(layers=[Bad()]) as channel:
        with pytest.raises(grpc.aio.AioRpcError, match="must be bytes"):
            await PingServiceStub(channel).Ping(PingRequest())


async def test_a_request_that_cannot_be_serialized_is_an_error_of_the_call(ping: Cluster) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await ping.stub.Ping("no message")  # type: ignore[arg-type]
    assert e.value.code() is grpc.StatusCode.INTERNAL


@pytest.mark.parametrize("method", ["Ping", "Count", "Sum", "Echo"])
async def test_an_error_is_told_in_each_kind(ping: Cluster, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await make(ping, method, PingRequest(fail_code="NOT_FOUND"))
    assert e.value.code() is grpc.StatusCode.NOT_FOUND
    assert "was told to fail" in (e.value.details() or "")
    assert ping.in_flight() == 0


async def test_a_call_starts_when_it_is_made_not_when_it_is_awaited(ping: Cluster) -> None:
    calls = [ping.stub.Ping(PingRequest(delay=0.2)) for _ in range(4)]
    await eventually(lambda: sum(s.servicer.running for s in ping.servers) == 4)
    await asyncio.gather(*calls)


async def test_a_call_that_nobody_awaits_is_made_and_counted(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="forgotten"))
    await eventually(call.done)
    assert ping.in_flight() == 0
    assert sum(e["successes"] for e in ping.channel.state()["endpoints"]) == 1


@pytest.mark.parametrize("method", ["Ping", "Count", "Sum", "Echo"])
async def test_a_call_that_is_dropped_is_cancelled(ping: Cluster, method: str) -> None:
    call = begin(ping, method, PingRequest(delay=30))
    await eventually(lambda: sum(s.servicer.running for s in ping.servers) == 1)
    assert ping.in_flight() == 1
    del call
    assert ping.in_flight() == 0
    assert [e["failures"] for e in ping.channel.state()["endpoints"] if e["failures"]] == [{"CANCELLED": 1}]
    if method in ("Ping", "Count"):
        # grpcio 1.85.1 leaves the handlers of request streams running.
        await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)


async def test_a_call_with_a_done_callback_is_not_dropped(ping: Cluster) -> None:
    seen: list[object] = []
    ping.stub.Ping(PingRequest()).add_done_callback(seen.append)
    gc.collect()
    await eventually(lambda: seen)
    assert sum(s.servicer.calls["Ping"] for s in ping.servers) == 1


async def test_cancelling_a_call_reaches_the_server(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(delay=30))
    await eventually(lambda: sum(s.servicer.running for s in ping.servers) == 1)
    assert call.cancel()
    assert not call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert call.cancelled()
    assert await call.code() is grpc.StatusCode.CANCELLED
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_a_call_cancelled_at_once_counts_nothing_in_flight(ping: Cluster) -> None:
    for _ in range(20):
        ping.stub.Ping(PingRequest()).cancel()
    await eventually(lambda: ping.in_flight() == 0)


async def test_a_task_that_is_cancelled_cancels_its_call(ping: Cluster) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ping.stub.Ping(PingRequest(delay=30))
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_a_stream_that_was_left_early_is_iterated_on(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest(count=3))
    async for first in call:
        assert first.number == 1
        break
    assert (await anext(aiter(call))).number == 2
    assert [m.number async for m in call] == [3]
    assert [m async for m in call] == []
    assert await call.read() is grpc.aio.EOF


async def test_a_stream_that_was_left_early_and_dropped_is_cancelled(ping: Cluster) -> None:
    async for _ in ping.stub.Count(PingRequest()):
        break
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_a_stream_that_nobody_refers_to_is_cancelled(ping: Cluster) -> None:
    call = ping.stub.Count(PingRequest())
    await call.read()
    del call
    await eventually(lambda: sum(s.servicer.cancelled for s in ping.servers) == 1)
    assert ping.in_flight() == 0


async def test_done_callbacks_run_once_with_the_call(ping: Cluster) -> None:
    seen: list[object] = []
    call = ping.stub.Ping(PingRequest())
    call.add_done_callback(seen.append)
    await call
    call.add_done_callback(seen.append)
    assert seen == [call, call]


async def test_a_deadline_ends_the_call_and_is_known_to_the_server(ping: Cluster) -> None:
    assert 4 < (await ping.stub.Ping(PingRequest())).time_remaining < 5.1  # the wire rounds up
    assert (await ping.stub.Ping(PingRequest(), timeout=2)).time_remaining < 2.1
    with pytest.raises(grpc.aio.AioRpcError) as e:
        await ping.stub.Ping(PingRequest(delay=10), timeout=0.05)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_deadline_of_the_call_being_served_is_inherited(ping: Cluster) -> None:
    now = asyncio.get_running_loop().time()
    served = ServerCall(Method.parse("/a.B/C", Kind.UNARY), None, now, {}, deadline=now + 1.0)  # type: ignore[arg-type]
    token = current_call.set(served)
    try:
        assert (await ping.stub.Ping(PingRequest())).time_remaining < 1.1
        served.deadline = now - 1
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await ping.stub.Ping(PingRequest())
    finally:
        current_call.reset(token)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert sum(s.servicer.calls["Ping"] for s in ping.servers) == 1


async def test_an_idempotent_call_is_retried_on_another_endpoint(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="r", fail_code="UNAVAILABLE", fail_times=1))
    await call
    assert [s.servicer.calls["Ping"] for s in ping.servers] == [1, 1]
    assert ping.channel.state()["retries"] == 1


async def test_a_call_that_is_not_idempotent_is_not_retried(ping: Cluster) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await ping.stub.Poke(PingRequest(fail_code="UNAVAILABLE"))
    assert sum(s.servicer.calls["Poke"] for s in ping.servers) == 1


async def test_a_retried_call_that_nobody_awaits_is_counted_right(ping: Cluster) -> None:
    call = ping.stub.Ping(PingRequest(text="f", fail_code="UNAVAILABLE", fail_times=1))
    await eventually(call.done)
    assert ping.in_flight() == 0
    assert await call.code() is grpc.StatusCode.OK
    assert (await call).text == "f"


async def test_pushback_postpones_a_retry_or_forbids_it(ping: Cluster) -> None:
    started = asyncio.get_running_loop().time()
    await ping.stub.Ping(PingRequest(text="p", fail_code="UNAVAILABLE", fail_times=1, pushback="200"))
    assert asyncio.get_running_loop().time() - started >= 0.2
    before = sum(s.servicer.calls["Ping"] for s in ping.servers)
    with pytest.raises(grpc.aio.AioRpcError):
        await ping.stub.Ping(PingRequest(fail_code="UNAVAILABLE", pushback="-1"))
    assert sum(s.servicer.calls["Ping"] for s in ping.servers) == before + 1


async def test_a_server_stream_is_retried_until_its_first_message(ping: Cluster) -> None:
    request = PingRequest(text="s", count=3, fail_code="UNAVAILABLE", fail_times=1)
    assert [m.number async for m in ping.stub.Count(request)] == [1, 2, 3]
    assert sum(s.servicer.calls["Count"] for s in ping.servers) == 2


async def test_a_server_stream_is_not_retried_after_its_first_message(ping: Cluster) -> None:
    request = PingRequest(count=3, fail_code="UNAVAILABLE", fail_after=1)
    call = ping.stub.Count(request)
    numbers = [(await call.read()).number]
    with pytest.raises(grpc.aio.AioRpcError):
        await call.read()
    assert numbers == [1]
    assert sum(s.servicer.calls["Count"] for s in ping.servers) == 1


@pytest.mark.parametrize("method", ["Sum", "Echo"])
async def test_a_request_stream_is_not_retried(ping: Cluster, method: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError):
        await make(ping, method, PingRequest(fail_code="UNAVAILABLE"))
    assert sum(s.servicer.calls[method] for s in ping.servers) == 1


class Recorder(ClientLayer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def on_start(self, call: ClientCall) -> None:
        call.metadata.append(("x-layer", "was here"))
        self.events.append("start")

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        self.events.append(f"attempt {call.attempts} {code.name}")

    def on_end(self, call: ClientCall) -> None:
        self.events.append(f"end {call.code.name} sent={call.sent} received={call.received}")


async def test_layers_see_one_call_and_each_of_its_attempts(ping: Cluster) -> None:
    layer = Recorder()
    async with ping.open(layers=[layer]) as channel:
        stub = PingServiceStub(channel)
        response = await stub.Ping(PingRequest(text="l", fail_code="UNAVAILABLE", fail_times=1))
        assert response.metadata["x-layer"] == "was here"
        assert layer.events == ["start", "attempt 1 UNAVAILABLE", "attempt 2 OK", "end OK sent=1 received=1"]
        layer.events.clear()
        _ = [m async for m in stub.Echo(iter([PingRequest(), PingRequest()]))]
        assert layer.events == ["start", "attempt 1 OK", "end OK sent=2 received=2"]


class Refuser(ClientLayer):
    def on_start(self, call: ClientCall) -> None:
        raise FailedPrecondition("not today", "HOLIDAY")


async def test_an_error_of_a_layer_becomes_the_error_of_the_call(ping: Cluster) -> None:
    outer, inner = Recorder(), Recorder()
    async with ping.open(layers=[outer, Refuser(), inner]) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as e:
            await PingServiceStub(channel).Ping(PingRequest())
    assert e.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    status = from_wire(e.value.trailing_metadata())
    assert status is not None
    assert status.message == "not today"
    assert outer.events == ["start", "end FAILED_PRECONDITION sent=0 received=0"]
    assert inner.events == []


async def test_counts_stay_right_under_a_storm_of_cancelled_calls(ping: Cluster) -> None:
    async def one(i: int) -> PingResponse | None:
        call = ping.stub.Ping(PingRequest(delay=0.01 * (i % 3)), timeout=0.015 if i % 5 == 0 else 5)
        if i % 2:
            await asyncio.sleep(0.001 * (i % 13))
            call.cancel()
        try:
            return await call
        except (asyncio.CancelledError, grpc.aio.AioRpcError):
            return None

    await asyncio.gather(*(one(i) for i in range(300)))
    assert ping.in_flight() == 0
    endpoints = ping.channel.state()["endpoints"]
    assert sum(e["successes"] + sum(e["failures"].values()) for e in endpoints) == sum(
        e["picks"] for e in endpoints
    )
