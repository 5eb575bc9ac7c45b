"""Every way in which a servicer can fail, seen from the wire."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from grpcmesh import errors, status
from grpcmesh.config import ServerConfig
from grpcmesh.server import streams
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import PingServiceServicer, PingServiceStub
from tests.integration.callkit import REPLICA, SECRET, Raising, collect, invoke, requests
from tests.integration.serverkit import failure, serve, until

TABLE: list[tuple[errors.MeshError, grpc.StatusCode, Any]] = [
    (
        errors.InvalidArgument([errors.FieldViolation("items[0].quantity", "must be positive")]),
        grpc.StatusCode.INVALID_ARGUMENT,
        error_details_pb2.BadRequest,
    ),
    (errors.NotFound("product", "7"), grpc.StatusCode.NOT_FOUND, error_details_pb2.ResourceInfo),
    (errors.AlreadyExists("user", "a@b.c"), grpc.StatusCode.ALREADY_EXISTS, error_details_pb2.ResourceInfo),
    (
        errors.FailedPrecondition("not enough", "OUT_OF_STOCK", product="7"),
        grpc.StatusCode.FAILED_PRECONDITION,
        error_details_pb2.ErrorInfo,
    ),
    (errors.Aborted("lost a race", "CONFLICT"), grpc.StatusCode.ABORTED, error_details_pb2.ErrorInfo),
    (errors.Unauthenticated("who?"), grpc.StatusCode.UNAUTHENTICATED, None),
    (errors.PermissionDenied("not yours"), grpc.StatusCode.PERMISSION_DENIED, error_details_pb2.ErrorInfo),
    (
        errors.ResourceExhausted("slow down", 0.5),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        error_details_pb2.RetryInfo,
    ),
    (errors.Unavailable("not now", 0.25), grpc.StatusCode.UNAVAILABLE, error_details_pb2.RetryInfo),
    (errors.DeadlineExceeded("too late"), grpc.StatusCode.DEADLINE_EXCEEDED, None),
]


@pytest.mark.parametrize("kind", ["Ping", "Count", "Sum", "Echo"])
@pytest.mark.parametrize(("error", "code", "detail"), TABLE, ids=lambda v: type(v).__name__)
async def test_a_typed_error_arrives_with_its_code_and_details(
    tmp_path: Path, error: errors.MeshError, code: grpc.StatusCode, detail: Any, kind: str
) -> None:
    async with serve(tmp_path, Raising(lambda: error)) as served, served.channel() as channel:
        got = await failure(invoke(PingServiceStub(channel), kind))
        assert (got.code(), got.details()) == (code, error.message)
        assert REPLICA in tuple(got.trailing_metadata())
        wire = status.from_wire(got.trailing_metadata())
        assert (wire is None) == (detail is None)
        if wire is not None:
            assert (wire.code, wire.message) == (code.value[0], error.message)
            assert wire.details[0].Is(detail.DESCRIPTOR)
        assert served.metric("grpc_server_handled_total", grpc_method=kind) == 1


@pytest.mark.parametrize(("domain", "sent"), [("shop.example.com", "shop.example.com"), ("", "ping")])
async def test_a_reason_is_of_the_domain_of_the_settings_or_of_the_service(
    tmp_path: Path, domain: str, sent: str
) -> None:
    servicer, port = (
        Raising(lambda: errors.Aborted("lost a race", "CONFLICT")),
        ServerConfig(error_domain=domain),
    )
    async with serve(tmp_path, servicer, port=port) as served, served.channel() as channel:
        wire = status.from_wire((await failure(invoke(PingServiceStub(channel), "Ping"))).trailing_metadata())
        info = error_details_pb2.ErrorInfo()
        assert wire is not None
        assert wire.details[0].Unpack(info)
        assert (info.reason, info.domain) == ("CONFLICT", sent)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that a busy machine holds up between two requests has not paused."""
    monkeypatch.setattr(streams, "_LULL", 60.0)
    monkeypatch.setattr(streams, "_HEARD_OUT", 60.0)


@pytest.mark.usefixtures("patient")
async def test_a_caller_that_is_still_sending_is_told_why_its_stream_failed(tmp_path: Path) -> None:
    # A send that fails hides the status from a grpc.aio client, so the server hears the caller out first.
    servicer = Raising(lambda: errors.Unauthenticated("a token is needed"))
    async with serve(tmp_path, servicer) as served, served.channel() as channel:
        stub = PingServiceStub(channel)
        codes = {(await failure(collect(stub.Echo(requests(20))))).code() for _ in range(20)}
    assert codes == {grpc.StatusCode.UNAUTHENTICATED}


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("code", [grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND])
@pytest.mark.parametrize("kind", ["Sum", "Echo"])
async def test_a_caller_that_is_still_sending_hears_how_its_call_ended(
    tmp_path: Path, kind: str, code: grpc.StatusCode
) -> None:
    class Early(PingServiceServicer):
        async def Sum(self, requests: AsyncIterator[PingRequest], context: Any) -> PingResponse:
            context.set_code(code)
            return PingResponse()

        async def Echo(self, requests: AsyncIterator[PingRequest], context: Any) -> None:
            context.set_code(code)

    got = []
    async with serve(tmp_path, Early()) as served, served.channel() as channel:
        for _ in range(20):
            stub = PingServiceStub(channel)
            call: Any = stub.Sum(requests(20)) if kind == "Sum" else stub.Echo(requests(20))
            with contextlib.suppress(grpc.aio.AioRpcError):
                await (call if kind == "Sum" else collect(call))
            got.append(await call.code())
    assert set(got) == {code}


async def test_a_caller_that_waits_is_told_at_once_and_one_without_end_all_the_same(tmp_path: Path) -> None:
    async def endless() -> AsyncIterator[PingRequest]:
        yield PingRequest()
        await asyncio.Event().wait()

    servicer = Raising(lambda: errors.Unauthenticated("a token is needed"))
    async with asyncio.timeout(60), serve(tmp_path, servicer) as served, served.channel() as channel:
        error = await failure(collect(PingServiceStub(channel).Echo(endless())))
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_pushback_says_when_to_retry(tmp_path: Path) -> None:
    raising = Raising(lambda: errors.Unavailable("x", 0.25))
    async with serve(tmp_path, raising) as served, served.channel() as channel:
        error = await failure(PingServiceStub(channel).Ping(PingRequest()))
        assert ("grpc-retry-pushback-ms", "250") in tuple(error.trailing_metadata())


@pytest.mark.parametrize("kind", ["Ping", "Count", "Sum", "Echo"])
async def test_an_unknown_error_is_internal_logged_once_and_tells_nothing(
    tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(tmp_path, Raising(lambda: KeyError(SECRET))) as served, served.channel() as channel:
        error = await failure(invoke(PingServiceStub(channel), kind))
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
        assert "4111" not in repr(error)
        logged = [r for r in caplog.records if r.levelno >= logging.ERROR]
        assert len(logged) == 1
        assert logged[0].exc_info


@pytest.mark.parametrize(
    ("below", "above"),
    [
        (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.CANCELLED, grpc.StatusCode.UNAVAILABLE),
        (grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.DEADLINE_EXCEEDED),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.RESOURCE_EXHAUSTED),
        (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INTERNAL),
        (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INTERNAL),
        (grpc.StatusCode.UNKNOWN, grpc.StatusCode.INTERNAL),
    ],
)
async def test_the_failure_of_a_call_below_is_translated_without_its_text(
    tmp_path: Path, below: grpc.StatusCode, above: grpc.StatusCode
) -> None:
    raising = Raising(lambda: grpc.aio.AioRpcError(below, details=SECRET))
    async with serve(tmp_path, raising) as served, served.channel() as channel:
        error = await failure(PingServiceStub(channel).Ping(PingRequest()))
        assert error.code() is above
        assert "4111" not in repr(error)


async def test_a_timeout_inside_is_a_deadline_exceeded(tmp_path: Path) -> None:
    async with serve(tmp_path, Raising(TimeoutError)) as served, served.channel() as channel:
        error = await failure(PingServiceStub(channel).Ping(PingRequest()))
        assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED


async def test_the_servicers_own_abort_is_respected_and_counted(tmp_path: Path) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        error = await failure(PingServiceStub(channel).Ping(PingRequest(fail_code="OUT_OF_RANGE")))
        assert error.code() is grpc.StatusCode.OUT_OF_RANGE
        # grpc sends the status in `abort`, before the servicer has returned.
        await until(lambda: served.metric("grpc_server_handled_total", grpc_code="OutOfRange") == 1)


async def test_set_code_is_respected_and_trailing_metadata_is_kept(tmp_path: Path) -> None:
    class Setting(PingServiceServicer):
        async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
            context.set_trailing_metadata((("mine", "1"),))
            context.set_code(grpc.StatusCode.DATA_LOSS)
            return PingResponse()

    async with serve(tmp_path, Setting()) as served, served.channel() as channel:
        error = await failure(PingServiceStub(channel).Ping(PingRequest()))
        assert error.code() is grpc.StatusCode.DATA_LOSS
        assert set(error.trailing_metadata()) == {("mine", "1"), REPLICA}
        assert served.metric("grpc_server_handled_total", grpc_code="DataLoss") == 1


async def test_what_the_server_does_not_have_is_unimplemented_and_counted(tmp_path: Path) -> None:
    async with serve(tmp_path, Raising(Exception)) as served, served.channel() as channel:
        for number in range(3):
            error = await failure(channel.unary_unary(f"/no.Such/Method{number}")(b""))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        error = await failure(PingServiceStub(channel).Poke(PingRequest()))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        count = served.metric("grpc_server_handled_total", grpc_code="Unimplemented", grpc_service="unknown")
        assert count == 3
        assert served.metric("grpc_server_handled_total", grpc_code="Unimplemented", grpc_method="Poke") == 1


@pytest.mark.parametrize("kind", ["Ping", "Count"])
async def test_bytes_that_are_no_message_are_an_invalid_argument(tmp_path: Path, kind: str) -> None:
    async with serve(tmp_path) as served, served.channel() as channel:
        path = f"/mesh.testing.PingService/{kind}"
        call: Any = (
            channel.unary_unary(path)(b"\xff") if kind == "Ping" else channel.unary_stream(path)(b"\xff")
        )
        error = await failure(call if kind == "Ping" else collect(call))
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT


async def _cancelled(context: Any) -> None:
    waiting = asyncio.ensure_future(asyncio.Event().wait())
    waiting.cancel()
    await waiting


async def _abort_caught(context: Any) -> None:
    with contextlib.suppress(grpc.aio.AbortError):
        await context.abort(grpc.StatusCode.DATA_LOSS, "caught")


def _raise(error: BaseException) -> Any:
    async def raising(context: Any) -> None:
        raise error

    return raising


#: Faulty servicers, and the codes of their calls. Each call ends at once, and never with UNKNOWN.
WRONG: list[tuple[Any, str]] = [
    (_cancelled, "INTERNAL"),
    (_raise(asyncio.CancelledError()), "INTERNAL"),
    (_raise(GeneratorExit()), "INTERNAL"),
    (_raise(SystemExit(3)), "INTERNAL"),
    (_raise(KeyboardInterrupt()), "INTERNAL"),
    (_raise(grpc.aio.AbortError()), "INTERNAL"),
    (_raise(grpc.aio.UsageError("a secret")), "INTERNAL"),
    (_raise(errors.NotFound("thing", "\ud800")), "NOT_FOUND"),
    (_raise(errors.NotFound("thing", "x" * 100_000)), "NOT_FOUND"),
    (_raise(errors.InvalidArgument([errors.FieldViolation("f", "wrong")] * 5000)), "INVALID_ARGUMENT"),
    (_abort_caught, "DATA_LOSS"),
    (lambda c: c.abort(grpc.StatusCode.OK, "x"), "INTERNAL"),
    (lambda c: c.abort(grpc.StatusCode.NOT_FOUND, "\ud800"), "NOT_FOUND"),
    (lambda c: c.abort(grpc.StatusCode.NOT_FOUND, "x", (("k", "ü"),)), "INTERNAL"),
    (lambda c: c.abort(grpc.StatusCode.NOT_FOUND, "x", (("K", "x"),)), "INTERNAL"),
    (lambda c: c.abort(grpc.StatusCode.NOT_FOUND, "x", (("k-bin", "x"),)), "INTERNAL"),
    (lambda c: c.abort(77, "x"), "UNKNOWN"),
    (lambda c: c.send_initial_metadata((("k", "ü"),)), "INTERNAL"),
    (lambda c: _call(c.set_trailing_metadata, (("k", "\ud800"),)), "INTERNAL"),
    (lambda c: _call(c.set_trailing_metadata, (("k", "a\nb"),)), "INTERNAL"),
    (lambda c: _call(c.set_trailing_metadata, 7), "INTERNAL"),
    (lambda c: _call(c.set_details, "\ud800"), "OK"),
    (lambda c: _call(c.set_code, 5), "NOT_FOUND"),
    (lambda c: _call(c.set_code, "nonsense"), "UNKNOWN"),
]


async def _call(function: Any, argument: Any) -> None:
    function(argument)


@pytest.mark.parametrize("kind", ["Ping", "Count", "Sum", "Echo"])
async def test_whatever_a_servicer_does_wrong_its_call_ends_at_once(tmp_path: Path, kind: str) -> None:
    doing: Any = None

    class Wrong(PingServiceServicer):
        async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
            await doing(context)
            return PingResponse()

        async def Count(self, request: PingRequest, context: Any) -> AsyncIterator[PingResponse]:
            await doing(context)
            yield PingResponse()

        async def Sum(self, requests: AsyncIterator[PingRequest], context: Any) -> PingResponse:
            await doing(context)
            return PingResponse()

        async def Echo(self, requests: AsyncIterator[PingRequest], context: Any) -> None:
            await doing(context)

    async with serve(tmp_path, Wrong()) as served, served.channel() as channel:
        stub, handled = PingServiceStub(channel), 0
        for doing, code in WRONG:
            async with asyncio.timeout(20):
                try:
                    # A send that fails hides the status from a grpc.aio client, so this one sends nothing.
                    await invoke(stub, kind, 0)
                    got = "OK"
                except grpc.aio.AioRpcError as e:
                    got = "a secret" if "secret" in repr(e) else e.code().name
            assert (got, doing) == (code, doing)
            handled += 1
        await until(lambda: served.metric("grpc_server_handled_total", grpc_method=kind) == handled)


async def test_a_servicer_that_returns_nonsense_is_internal(tmp_path: Path) -> None:
    class Nonsense(PingServiceServicer):
        async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
            return None  # type: ignore[return-value]

    async with serve(tmp_path, Nonsense()) as served, served.channel() as channel:
        error = await failure(PingServiceStub(channel).Ping(PingRequest()))
        assert (error.code(), error.details()) == (grpc.StatusCode.INTERNAL, "internal error")
