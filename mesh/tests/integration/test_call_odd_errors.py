"""A raised object that is no `Exception` ends its call like any other error, or has no effect."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from grpcmesh.call import Attempt, AttemptLayer, ClientCall, ClientLayer, Purpose, ServerCall, ServerLayer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server
from tests.integration.callkit import invoke
from tests.integration.endkit import (
    CODECS,
    METHODS,
    Counted,
    CountedAttempts,
    answer,
    begin,
    callable_of,
    fails,
    settle,
)
from tests.integration.replicas import Cluster, cluster, eventually
from tests.integration.serverkit import Served
from tests.loops import loop_errors


class Odd(BaseException):
    """An error such as `pytest.fail` raises, or a framework for its own cancellation."""


ODD: list[BaseException] = [
    Odd("x"),
    asyncio.CancelledError(),
    GeneratorExit(),
    SystemExit(3),
    BaseExceptionGroup("several", [Odd()]),
    StopIteration(),
    StopAsyncIteration(),
]


@pytest.fixture
async def ping(tmp_path: Path) -> AsyncIterator[Cluster]:
    async with cluster(tmp_path, 1) as made:
        yield made


class Raising(ClientLayer, AttemptLayer, ServerLayer):  # type: ignore[misc] # the three have the same hooks
    """Raises in one hook."""

    applies_to = frozenset({Purpose.APPLICATION})

    def __init__(self, hook: str, error: BaseException) -> None:
        self._hook, self._error = hook, error

    def on_start(self, subject: Any) -> None:
        self._raise_in("on_start")

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        self._raise_in("on_attempt")

    def on_end(self, subject: Any) -> None:
        self._raise_in("on_end")

    def _raise_in(self, hook: str) -> None:
        if hook == self._hook:
            raise self._error


@pytest.mark.parametrize(
    ("stack", "hook"),
    [
        ("layers", "on_start"),
        ("layers", "on_attempt"),
        ("layers", "on_end"),
        ("attempt_layers", "on_start"),
        ("attempt_layers", "on_end"),
    ],
)
async def test_a_client_layer_spoils_no_answer_whatever_it_raises(
    ping: Cluster, stack: str, hook: str
) -> None:
    for error in ODD:
        calls, attempts = Counted(), CountedAttempts()
        layers: dict[str, list[Any]] = {"layers": [calls], "attempt_layers": [attempts]}
        layers[stack].append(Raising(hook, error))
        async with ping.open(**layers) as channel:
            for method in METHODS:
                call = begin(PingServiceStub(channel), method, PingRequest(text="x", count=1))
                assert (await answer(call)).text == "x", error
            assert calls.codes == attempts.codes == ["OK"] * 4
            settle(channel)


async def test_ctrl_c_in_a_layer_ends_the_program_and_not_the_call(ping: Cluster) -> None:
    thrown: list[BaseException] = []
    loop = asyncio.get_running_loop()

    class Interrupted(ClientLayer):
        def on_end(self, call: ClientCall) -> None:
            raise KeyboardInterrupt

    def call_soon(callback: Any, *arguments: Any, **options: Any) -> Any:
        if arguments and isinstance(arguments[0], KeyboardInterrupt):
            thrown.append(arguments[0])
            return None
        return type(loop).call_soon(loop, callback, *arguments, **options)

    async with ping.open(layers=[Interrupted()]) as channel:
        await channel.channel_ready()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon", call_soon)
            assert (await PingServiceStub(channel).Ping(PingRequest(text="x"))).text == "x"
        settle(channel)
    assert len(thrown) == 1


@pytest.mark.parametrize("codec", CODECS)
async def test_a_codec_ends_its_call_whatever_it_raises(ping: Cluster, codec: str) -> None:
    for error in ODD:

        def bad(_: Any, error: BaseException = error) -> Any:
            raise error

        for method in METHODS:
            made = callable_of(ping.channel, method, **{codec: bad})
            request = PingRequest(count=1)
            failed = await fails(made(request if method in ("Ping", "Count") else iter([request])))
            assert failed.code() is grpc.StatusCode.INTERNAL, error
            assert failed.__cause__ is error
    settle(ping.channel)


class Requests:
    """One request, and then an error. Iterates both ways."""

    def __init__(self, error: BaseException) -> None:
        self._error, self._sent = error, False

    def _next(self) -> PingRequest:
        if self._sent:
            raise self._error
        self._sent = True
        return PingRequest()


class Sync(Requests):
    def __iter__(self) -> Iterator[PingRequest]:
        return self

    def __next__(self) -> PingRequest:
        return self._next()


class Async(Requests):
    def __aiter__(self) -> AsyncIterator[PingRequest]:
        return self

    async def __anext__(self) -> PingRequest:
        return self._next()


async def awaiting_what_was_cancelled() -> AsyncIterator[PingRequest]:
    yield PingRequest()
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    waiting.cancel()
    await waiting


@pytest.mark.parametrize("method", ["Sum", "Echo"])
async def test_requests_end_their_call_whatever_they_raise(ping: Cluster, method: str) -> None:
    errors = [Odd("x"), asyncio.CancelledError(), SystemExit(3)]
    made: list[Any] = [kind(error) for kind in (Sync, Async) for error in errors]
    for requests in [*made, awaiting_what_was_cancelled()]:
        failed = await fails(getattr(ping.stub, method)(requests))
        assert failed.code() is grpc.StatusCode.UNKNOWN
        assert "Exception iterating requests!" in (failed.details() or "")
    settle(ping.channel)


async def test_requests_that_end_because_their_call_has_ended_are_not_blamed(ping: Cluster) -> None:
    async def endless() -> AsyncIterator[PingRequest]:
        yield PingRequest()
        await asyncio.Event().wait()

    for method in ("Sum", "Echo"):
        failed = await fails(getattr(ping.stub, method)(endless(), timeout=0.2))
        assert failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        failed = await fails(getattr(ping.stub, method)(iter([PingRequest(fail_code="NOT_FOUND")])))
        assert failed.code() is grpc.StatusCode.NOT_FOUND
    settle(ping.channel)


async def test_a_done_callback_that_raises_anything_is_told_to_the_loop_only(ping: Cluster) -> None:
    told = loop_errors()
    for error in ODD:

        def bad(_: Any, error: BaseException = error) -> None:
            raise error

        call = ping.stub.Ping(PingRequest(text="x"))
        call.add_done_callback(bad)
        assert (await call).text == "x"
    assert [context["exception"] for context in told] == ODD
    settle(ping.channel)


class Unreadable:
    """An object that has no hash and whose `repr` and `str` raise."""

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        raise RuntimeError("no text")


class UnreadablePairs:
    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __iter__(self) -> Iterator[Any]:
        yield ("k", "v")
        raise self._error


class NeitherTrueNorFalse(UnreadablePairs):
    def __bool__(self) -> bool:
        raise self._error


async def test_metadata_that_cannot_be_read_ends_its_call(ping: Cluster) -> None:
    pairs: list[Any] = [[([], "v")], [(Unreadable(), "v")], [("k", Unreadable())]]
    for error in (KeyError("k"), LookupError(), *ODD):
        pairs += [UnreadablePairs(error), NeitherTrueNorFalse(error)]
    for metadata in pairs:
        for method in METHODS:
            failed = await fails(begin(ping.stub, method, PingRequest(), metadata=metadata))
            assert failed.code() is grpc.StatusCode.INTERNAL
    settle(ping.channel)


class Passing(
    grpc.aio.UnaryUnaryClientInterceptor,
    grpc.aio.UnaryStreamClientInterceptor,
    grpc.aio.StreamUnaryClientInterceptor,
    grpc.aio.StreamStreamClientInterceptor,
):
    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return await continuation(details, request)

    intercept_unary_stream = intercept_stream_unary = intercept_stream_stream = intercept_unary_unary


async def test_bad_metadata_ends_an_intercepted_call_too(ping: Cluster) -> None:
    async with ping.open(interceptors=[Passing()]) as channel:
        for metadata in (5, ("one",), [([], "v")], UnreadablePairs(Odd()), [("K", "v")]):
            for method in METHODS:
                call = begin(PingServiceStub(channel), method, PingRequest(), metadata=metadata)
                assert (await fails(call)).code() is grpc.StatusCode.INTERNAL
        settle(channel)


async def test_an_intercepted_call_that_another_thread_drops_is_cancelled(ping: Cluster) -> None:
    begun = asyncio.Event()

    class Holding(grpc.aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
            begun.set()
            await asyncio.Event().wait()

    async with ping.open(interceptors=[Holding()]) as channel:
        held = [PingServiceStub(channel).Ping(PingRequest())]
        await begun.wait()
        await asyncio.to_thread(held.clear)
        await eventually(lambda: not channel._core.chains, within=30)


def _garbled(**values: Any) -> type[ClientLayer]:
    class Garbles(ClientLayer):
        def on_start(self, call: ClientCall) -> None:
            for name, value in values.items():
                setattr(call, name, value)

    return Garbles


async def test_a_layer_that_garbles_its_call_ends_it(ping: Cluster) -> None:
    values: list[Any] = [None, 5, [None], ["x"], {"k": 1}, [("k", "ü")]]
    for layer in [_garbled(metadata=value) for value in values] + [_garbled(deadline="soon")]:
        async with ping.open(layers=[layer()]) as channel:
            await channel.channel_ready()
            for method in METHODS:
                failed = await fails(begin(PingServiceStub(channel), method, PingRequest(count=1)))
                assert failed.code() is grpc.StatusCode.INTERNAL
            settle(channel)


async def test_metadata_that_an_attempt_layer_spoils_is_not_sent(ping: Cluster) -> None:
    class Spoils(AttemptLayer):
        def on_start(self, attempt: Attempt) -> None:
            attempt.call.metadata.append(("K", "ü"))

    async with ping.open(attempt_layers=[Spoils()]) as channel:
        stub = PingServiceStub(channel)
        for method in METHODS:
            request = PingRequest(text="x", count=1, fail_code="UNAVAILABLE", fail_times=1)
            call = begin(stub, method, request, metadata=[("k", "v")])
            if method in ("Ping", "Count"):
                response = await answer(call)
                assert (response.metadata["k"], call.attempts) == ("v", 2)
            else:
                assert (await fails(call)).code() is grpc.StatusCode.UNAVAILABLE
        settle(channel)


@pytest.mark.parametrize("hook", ["on_start", "on_end"])
async def test_a_server_layer_leaves_no_call_without_an_answer_whatever_it_raises(
    tmp_path: Path, hook: str
) -> None:
    for number, error in enumerate(ODD):
        (tmp_path / str(number)).mkdir()
        served = Served(tmp_path / str(number))
        layer, seen = Raising(hook, error), _Seen()
        served.server.layers.extend([seen, layer])
        add_PingServiceServicer_to_server(served.servicer, served.server)
        await served.server.start()
        async with served.channel() as channel:
            for method in METHODS:
                codes = await _code(PingServiceStub(channel), method)
                assert codes == ("INTERNAL" if hook == "on_start" else "OK"), error
        assert (seen.entered, seen.left) == (4, 4)
        await served.server.stop(0)


class _Seen(ServerLayer):
    applies_to = frozenset({Purpose.APPLICATION})

    def __init__(self) -> None:
        self.entered = self.left = 0

    def on_start(self, call: ServerCall) -> None:
        self.entered += 1

    def on_end(self, call: ServerCall) -> None:
        self.left += 1


async def _code(stub: PingServiceStub, method: str) -> str:
    """Return the status code of a call. It has to end within seconds, whatever its deadline."""
    async with asyncio.timeout(20):
        try:
            await (_counted(stub) if method == "Count" else invoke(stub, method, 0))
        except grpc.aio.AioRpcError as e:
            return e.code().name
    return "OK"


async def _counted(stub: PingServiceStub) -> None:
    _ = [response async for response in stub.Count(PingRequest(count=1))]
