"""Compatibility of the synchronous channel with grpc: answers, futures, streams, ends."""

import gc
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest

from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.sync.peer import METHODS, Peer, answers, begin, until

_OK, _CANCELLED = grpc.StatusCode.OK, grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("method", METHODS)
def test_a_call_of_each_kind(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(text="x", count=1))
    assert [m.text for m in answers(call, method)] == ["x"]
    assert call.code() is _OK
    assert call.details() == ""
    assert dict(call.trailing_metadata()) == {}
    assert isinstance(dict(call.initial_metadata()), dict)
    assert (call.done(), call.cancelled(), call.cancel(), call.is_active()) == (True, False, False, False)
    assert (call.running(), call.exception(), call.traceback()) == (False, None, None)


def test_calls_that_wait_in_the_thread_of_the_caller(peer: Peer, stub: Any) -> None:
    peer.server.servicer.trailing = (("x-trailing", "1"), ("x-bin", b"\xff"))
    assert stub.Ping(PingRequest(text="x"), 20).text == "x"
    response, call = stub.Ping.with_call(PingRequest(text="y"), metadata=(("x-sent", "yes"),))
    assert (response.text, response.metadata["x-sent"], call.code()) == ("y", "yes", _OK)
    assert list(call.trailing_metadata()) == [("x-trailing", "1"), ("x-bin", b"\xff")]
    assert stub.Sum(iter([PingRequest()] * 3)).number == 3
    response, call = stub.Sum.with_call(iter([PingRequest()] * 2))
    assert (response.number, call.code()) == (2, _OK)


@pytest.mark.parametrize("method", METHODS)
def test_a_failure_of_each_kind(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(fail_code="NOT_FOUND"))
    with pytest.raises(grpc.RpcError) as e:
        answers(call, method)
    error: Any = e.value
    assert error.code() is call.code() is grpc.StatusCode.NOT_FOUND
    assert error.details() == call.details() == "ping-1 was told to fail"
    assert "was told to fail" in error.debug_error_string()
    assert "was told to fail" in str(error)
    assert tuple(error.trailing_metadata()) == tuple(call.trailing_metadata()) == ()
    assert isinstance(error, grpc.Call)
    assert (call.done(), call.cancelled(), call.cancel()) == (True, False, False)
    assert call.exception() is not None


@pytest.mark.parametrize("method", ["Ping", "Sum"])
def test_a_failure_in_the_thread_of_the_caller(stub: Any, method: str) -> None:
    request = PingRequest(fail_code="NOT_FOUND")
    for make in (getattr(stub, method), getattr(stub, method).with_call):
        with pytest.raises(grpc.RpcError) as e:
            make(request if method == "Ping" else iter([request]))
        assert e.value.code() is grpc.StatusCode.NOT_FOUND


def test_a_future(peer: Peer, stub: Any) -> None:
    future = stub.Ping.future(PingRequest(text="x", delay=2), timeout=20)
    assert (future.done(), future.running(), future.is_active()) == (False, True, True)
    assert 15 < future.time_remaining() <= 20
    for wait in (future.result, future.exception, future.traceback):
        with pytest.raises(grpc.FutureTimeoutError):
            wait(timeout=0.01)
    assert future.result(timeout=20).text == future.result().text == "x"


@pytest.mark.parametrize("method", METHODS)
def test_callbacks_before_and_after_the_end(stub: Any, method: str) -> None:
    seen: list[object] = []
    call = begin(stub, method, PingRequest(count=1, delay=1))
    call.add_done_callback(seen.append)
    assert call.add_callback(lambda: seen.append("ended"))
    answers(call, method)
    until(lambda: len(seen) == 2)
    assert seen.count(call) == 1
    call.add_done_callback(seen.append)
    assert seen[2:] == [call]
    assert not call.add_callback(lambda: None)


def test_a_callback_may_make_a_call(stub: Any) -> None:
    texts: list[str] = []
    future = stub.Ping.future(PingRequest(text="x"))
    future.add_done_callback(lambda done: texts.append(stub.Ping.future(PingRequest(text="y"))))
    until(lambda: texts)
    assert answers(texts[0])[0].text == "y"


@pytest.mark.parametrize("method", METHODS)
def test_cancelling_a_call(peer: Peer, stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(delay=30))
    until(lambda: peer.server.servicer.running == 1)
    assert call.cancel()
    error: Any
    if method in ("Ping", "Sum"):
        with pytest.raises(grpc.FutureCancelledError):
            call.result()
        with pytest.raises(grpc.FutureCancelledError):
            call.exception()
    else:
        with pytest.raises(grpc.RpcError) as error:
            answers(call, method)
        assert error.value.code() is _CANCELLED
    assert (call.code(), call.details()) == (_CANCELLED, "Locally cancelled by application!")
    assert (call.done(), call.cancelled()) == (True, True)
    until(lambda: peer.server.servicer.running == 0)


@pytest.mark.parametrize("method", METHODS)
def test_a_deadline(stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(delay=30), timeout=0.3)
    with pytest.raises(grpc.RpcError) as e:
        answers(call, method)
    assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "Deadline Exceeded" in e.value.details()
    if method == "Ping":
        with pytest.raises(grpc.RpcError) as e:
            stub.Ping(PingRequest(delay=30), timeout=0.1)
        assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_a_deadline_that_is_over_before_the_call(stub: Any) -> None:
    for call in (stub.Ping, lambda *a, **b: list(stub.Count(*a, **b))):
        with pytest.raises(grpc.RpcError) as e:
            call(PingRequest(), timeout=-1)
        assert e.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


def test_responses_one_by_one_and_after_the_end(stub: Any) -> None:
    call = stub.Count(PingRequest(count=2))
    assert [next(call).number, next(call).number] == [1, 2]
    for _ in range(2):
        with pytest.raises(StopIteration):
            next(call)
    failing = stub.Count(PingRequest(count=2, fail_code="ABORTED", fail_after=1))
    assert next(failing).number == 1
    for _ in range(2):
        with pytest.raises(grpc.RpcError):
            next(failing)


def test_a_thousand_messages_arrive_in_order(stub: Any) -> None:
    assert [m.number for m in stub.Count(PingRequest(count=1000))] == list(range(1, 1001))
    texts = [str(n) for n in range(200)]
    assert [m.text for m in stub.Echo(PingRequest(text=t) for t in texts)] == texts


def test_requests_that_depend_on_the_responses(stub: Any) -> None:
    more = threading.Semaphore(1)

    def requests() -> Iterator[PingRequest]:
        for text in ("a", "b", "c"):
            assert more.acquire(timeout=30)
            yield PingRequest(text=text)

    seen = []
    for response in stub.Echo(requests()):
        seen.append(response.text)
        more.release()
    assert seen == ["a", "b", "c"]


@pytest.mark.parametrize("method", ["Sum", "Echo"])
def test_an_iterator_of_requests_that_raises(stub: Any, method: str) -> None:
    def requests() -> Iterator[PingRequest]:
        yield PingRequest()
        raise OSError("a file has gone")

    with pytest.raises(grpc.RpcError) as e:
        answers(stub.Echo(requests()) if method == "Echo" else stub.Sum.future(requests()), method)
    assert e.value.code() is grpc.StatusCode.UNKNOWN
    assert "Exception iterating requests!" in e.value.details()


def test_messages_that_cannot_be_converted(channel: grpc.Channel) -> None:
    path = "/mesh.testing.PingService/Ping"

    def broken(message: Any) -> Any:
        raise OSError("broken")

    for codec in ({"request_serializer": broken}, {"response_deserializer": broken}):
        call: Any = channel.unary_unary(path, **codec)
        with pytest.raises(grpc.RpcError) as e:
            call(b"")
        assert e.value.code() is grpc.StatusCode.INTERNAL
        assert "Exception" in e.value.details()


def test_initial_metadata_comes_before_the_end(stub: Any) -> None:
    call = stub.Count(PingRequest())
    assert next(call).number == 1
    assert isinstance(dict(call.initial_metadata()), dict)
    assert call.is_active()
    call.cancel()


def test_a_channel_that_is_closed_ends_its_calls(peer: Peer) -> None:
    channel = peer.open()
    stub: Any = PingServiceStub(channel)
    stream, future = stub.Count(PingRequest(delay=30)), stub.Ping.future(PingRequest(delay=30))
    with ThreadPoolExecutor(1) as threads:
        blocked = threads.submit(stub.Ping, PingRequest(delay=30), timeout=30)
        until(lambda: peer.server.servicer.running == 3)
        channel.close()
        assert blocked.exception(30).code() is _CANCELLED  # type: ignore[union-attr]
    with pytest.raises(grpc.RpcError):
        next(stream)
    assert (stream.code(), future.code()) == (_CANCELLED, _CANCELLED)
    channel.close()
    for call in (stub.Ping, stub.Ping.future, stub.Count, lambda request: stub.Echo(iter([request]))):
        with pytest.raises(ValueError, match="hannel"):
            call(PingRequest())


@pytest.mark.parametrize("method", METHODS)
def test_a_call_that_is_dropped_is_cancelled(peer: Peer, stub: Any, method: str) -> None:
    call = begin(stub, method, PingRequest(delay=30))
    until(lambda: peer.server.servicer.running == 1)
    del call
    gc.collect()
    until(lambda: peer.server.servicer.running == 0)


def test_wait_for_ready(peer: Peer, stub: Any) -> None:
    stub.Ping(PingRequest(), timeout=20)
    peer.stop()
    # Of several calls, because the first may go to the connection that is being closed.
    with pytest.raises(grpc.RpcError) as e:
        _ = [stub.Poke(PingRequest(), timeout=5) for _ in range(50)]
    assert e.value.code() is grpc.StatusCode.UNAVAILABLE
    future = stub.Poke.future(PingRequest(), wait_for_ready=True, timeout=30)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(stub.Poke, PingRequest(), wait_for_ready=True, timeout=30)
        peer.start()
        assert waiting.result(30).replica == future.result(30).replica == "ping-1"


def test_interceptors(channel: grpc.Channel) -> None:
    class Adds(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor):
        def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            return continuation(details, PingRequest(text=request.text + "!", count=2))

        intercept_unary_stream = intercept_unary_unary

    stub: Any = PingServiceStub(grpc.intercept_channel(channel, Adds()))
    assert stub.Ping(PingRequest(text="x")).text == "x!"
    assert stub.Ping.future(PingRequest(text="x")).result().text == "x!"
    assert [m.text for m in stub.Count(PingRequest(text="x"))] == ["x!", "x!"]


def test_the_state_of_the_channel(peer: Peer, channel: grpc.Channel) -> None:
    before = set(threading.enumerate())
    grpc.channel_ready_future(channel).result(timeout=30)
    states: list[grpc.ChannelConnectivity] = []
    channel.subscribe(states.append, try_to_connect=True)
    until(lambda: grpc.ChannelConnectivity.READY in states)
    channel.unsubscribe(states.append)
    if peer.kind == "grpc":  # it polls in a thread, which raises if the channel is closed before it has ended
        until(lambda: set(threading.enumerate()) <= before)


def test_fifty_threads(stub: Any) -> None:
    def work(number: int) -> list[str]:
        return [stub.Ping(PingRequest(text=f"{number}.{n}"), timeout=60).text for n in range(10)]

    with ThreadPoolExecutor(50) as threads:
        for number, texts in enumerate(threads.map(work, range(50))):
            assert texts == [f"{number}.{n}" for n in range(10)]
