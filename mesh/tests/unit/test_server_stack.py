import asyncio
from collections.abc import Sequence
from typing import Any

import grpc
import pytest

from grpcmesh.admission import AdmissionLayer
from grpcmesh.auth import UserLayer
from grpcmesh.authz import AuthzLayer, PolicyStore
from grpcmesh.call import Kind, Method, Purpose, ServerCall, ServerLayer
from grpcmesh.config import AuthzConfig, FaultConfig, MeshConfig
from grpcmesh.errors import PermissionDenied
from grpcmesh.fault import FaultLayer
from grpcmesh.hooks import HookErrors
from grpcmesh.identity import IdentityLayer
from grpcmesh.server.server import server_layers
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Running, Stream
from grpcmesh.server.wrapping import wrap
from grpcmesh.telemetry import Telemetry
from tests.unit.fakes import FakeContext, samples

METHOD = Method.parse("/shop.Shop/Buy", Kind.UNARY)


class Noting(ServerLayer):
    """A layer that records the calls of its hooks, and refuses if configured to."""

    def __init__(self, name: str, notes: list[str], refuses: bool = False) -> None:
        self.name, self.notes, self.refuses = name, notes, refuses

    def on_start(self, call: ServerCall) -> None:
        self.notes.append(f"{self.name} start")
        if self.refuses:
            raise PermissionDenied("no")

    def on_end(self, call: ServerCall) -> None:
        self.notes.append(f"{self.name} end {call.code.name}")


class Ending(ServerLayer):
    """A layer that has only an `on_end` hook."""

    def __init__(self, notes: list[str]) -> None:
        self.notes = notes

    def on_end(self, call: ServerCall) -> None:
        self.notes.append("ending")


async def buy(request: bytes, context: Any) -> bytes:
    return request


async def serve(
    layers: Sequence[ServerLayer],
    behavior: Any = buy,
    context: FakeContext | None = None,
    errors: HookErrors | None = None,
    purpose: Purpose = Purpose.APPLICATION,
) -> Any:
    handler: Any = grpc.unary_unary_rpc_method_handler(behavior)
    wrapped: Any = wrap(handler, METHOD, Stack(layers, "shop-1", purpose, errors), Running())
    return await wrapped.unary_unary(b"x", context or FakeContext())


async def test_layers_start_outermost_first_and_end_in_reverse() -> None:
    notes: list[str] = []
    await serve([Noting("a", notes), Ending(notes), Noting("b", notes)])
    assert notes == ["a start", "b start", "b end OK", "ending", "a end OK"]


async def test_a_refusal_ends_the_layers_that_had_started_and_no_others() -> None:
    notes: list[str] = []
    layers = [Noting("a", notes), Ending(notes), Noting("b", notes, refuses=True), Noting("c", notes)]
    context = FakeContext()
    with pytest.raises(grpc.aio.AbortError):
        await serve(layers, context=context)
    assert notes == ["a start", "b start", "ending", "a end PERMISSION_DENIED"]
    assert context.aborted[0] is grpc.StatusCode.PERMISSION_DENIED


async def test_a_layer_that_does_nothing_costs_nothing() -> None:
    stack = Stack([ServerLayer(), Ending([]), ServerLayer()])
    assert (len(stack.starts), len(stack.ends)) == (0, 1)


async def test_a_bug_in_a_layer_is_internal() -> None:
    class Broken(ServerLayer):
        def on_start(self, call: ServerCall) -> None:
            raise KeyError("a secret")

    context, notes = FakeContext(), list[str]()
    with pytest.raises(grpc.aio.AbortError):
        await serve([Noting("a", notes), Broken()], context=context)
    assert context.aborted[:2] == (grpc.StatusCode.INTERNAL, "internal error")
    assert notes == ["a start", "a end INTERNAL"]


async def test_a_bug_in_a_layer_at_the_end_changes_no_outcome(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(ServerLayer):
        def on_end(self, call: ServerCall) -> None:
            raise KeyError("a secret")

    notes: list[str] = []
    assert await serve([Noting("a", notes), Broken(), Noting("b", notes)]) == b"x"
    assert notes == ["a start", "b start", "b end OK", "a end OK"]
    assert len(caplog.records) == 1


class Raising(ServerLayer):
    """A layer that raises given errors in its hooks, and records that calls end."""

    def __init__(self, notes: list[str], on_start: Any = None, on_end: Any = None) -> None:
        self.notes, self.start, self.end = notes, on_start, on_end

    def on_start(self, call: ServerCall) -> None:
        if self.start is not None:
            raise self.start

    def on_end(self, call: ServerCall) -> None:
        self.notes.append("raising end")
        if self.end is not None:
            raise self.end


class Observing(Raising):
    observes = True


ERRORS = [KeyError("a secret"), asyncio.CancelledError(), TimeoutError(), grpc.aio.AbortError()]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
async def test_a_layer_that_observes_and_fails_at_the_start_is_left_out(error: BaseException) -> None:
    notes: list[str] = []
    layers = [Noting("a", notes), Observing(notes, on_start=error), Noting("b", notes)]
    assert await serve(layers) == b"x"
    assert notes == ["a start", "b start", "b end OK", "a end OK"]


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
async def test_a_layer_that_guards_and_fails_at_the_start_lets_nothing_through(error: BaseException) -> None:
    notes, context = list[str](), FakeContext()

    async def never(request: bytes, context: Any) -> bytes:
        raise AssertionError("served")

    with pytest.raises(grpc.aio.AbortError):
        await serve([Noting("a", notes), Raising(notes, on_start=error), Noting("b", notes)], never, context)
    assert notes[:1] + notes[-1:] == ["a start", f"a end {context.aborted[0].name}"]
    assert "raising end" not in notes
    assert context.aborted[0] in (grpc.StatusCode.INTERNAL, grpc.StatusCode.DEADLINE_EXCEEDED)


@pytest.mark.parametrize("error", ERRORS, ids=lambda e: type(e).__name__)
async def test_a_layer_that_fails_at_the_end_changes_nothing_however_often(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    notes, errors = list[str](), HookErrors("server")
    layers = [Noting("a", notes), Raising(notes, on_end=error), Noting("b", notes)]
    for _ in range(3):
        assert await serve(layers, errors=errors) == b"x"
    assert notes == ["a start", "b start", "b end OK", "raising end", "a end OK"] * 3
    assert samples(errors)["mesh_layer_errors_total{hook=on_end,layer=Raising,side=server}"] == 3
    assert len(caplog.records) == 1


async def test_a_layer_runs_for_the_purposes_that_it_applies_to() -> None:
    class Steering(Noting):
        applies_to = frozenset({Purpose.CONTROL})

    notes: list[str] = []
    for purpose in Purpose:
        await serve([Steering(purpose.value, notes)], purpose=purpose)
    assert notes == ["control start", "control end OK"]


async def test_who_answered_is_told_with_every_outcome() -> None:
    context = FakeContext()
    await serve([], context=context)
    assert context.trailing == (("mesh-replica", "shop-1"),)
    with pytest.raises(grpc.aio.AbortError):
        await serve([Noting("a", [], refuses=True)], context=context)
    assert ("mesh-replica", "shop-1") in context.aborted[2]


async def test_an_expired_call_is_not_started() -> None:
    context, notes = FakeContext(remaining=0.0), list[str]()

    async def never(request: bytes, context: Any) -> bytes:
        raise AssertionError("started")

    with pytest.raises(grpc.aio.AbortError):
        await serve([Noting("a", notes)], never, context)
    assert notes == ["a start", "a end DEADLINE_EXCEEDED"]


@pytest.mark.parametrize(
    ("remaining", "code"), [(None, "CANCELLED"), (60.0, "CANCELLED"), (0.005, "DEADLINE_EXCEEDED")]
)
async def test_a_cancellation_at_the_deadline_is_the_deadlines(remaining: float | None, code: str) -> None:
    notes: list[str] = []

    async def cancelled(request: bytes, context: Any) -> bytes:
        await asyncio.Event().wait()
        return request

    serving = asyncio.create_task(serve([Noting("a", notes)], cancelled, FakeContext(remaining=remaining)))
    await asyncio.sleep(0)
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert notes == ["a start", f"a end {code}"]


@pytest.mark.parametrize("behavior", [lambda request, context: request, print])
def test_a_handler_that_is_not_asynchronous_is_refused(behavior: Any) -> None:
    handler: Any = grpc.unary_unary_rpc_method_handler(behavior)
    with pytest.raises(TypeError, match=r"shop\.Shop/Buy: must be `async def`"):
        wrap(handler, METHOD, Stack([]), Running())


def test_an_async_generator_is_no_handler_of_one_response() -> None:
    async def generates(request: bytes, context: Any) -> Any:
        yield request

    with pytest.raises(TypeError):
        wrap(grpc.unary_unary_rpc_method_handler(generates), METHOD, Stack([]), Running())


def test_the_stack_has_this_order() -> None:
    config = MeshConfig("shop")
    layers = server_layers(config, Telemetry(config), PolicyStore(AuthzConfig()), None)
    assert [type(layer) for layer in layers[-4:]] == [IdentityLayer, AuthzLayer, AdmissionLayer, UserLayer]
    assert [type(layer).__name__ for layer in layers[:3]] == ["ServerTrace", "ServerMetrics", "AccessLog"]


def test_only_a_process_that_may_be_broken_has_the_layer_that_breaks_calls() -> None:
    config = MeshConfig("shop", fault=FaultConfig(enabled=True))
    layers = server_layers(config, Telemetry(config), PolicyStore(AuthzConfig()), None)
    assert [type(layer) for layer in layers[-2:]] == [UserLayer, FaultLayer]


def stream(kind: Kind, cancelled: list[bool]) -> Stream:
    method = Method.parse("/shop.Shop/Follow", kind)
    made = Stream(ServerCall(method, FakeContext(), 0.0, {}), FakeContext(), bytes, bytes)  # type: ignore[arg-type]

    class Task:
        def cancel(self) -> None:
            cancelled.append(True)

    made._task = Task()  # type: ignore[assignment]
    return made


@pytest.mark.parametrize(
    ("kind", "reading", "writing", "at_once"),
    [
        (Kind.SERVER_STREAM, False, False, True),
        (Kind.SERVER_STREAM, False, True, False),
        (Kind.BIDI_STREAM, True, False, True),
        (Kind.BIDI_STREAM, False, False, False),
        (Kind.BIDI_STREAM, True, True, False),
    ],
)
async def test_a_stream_is_interrupted_only_where_that_tears_nothing_apart(
    kind: Kind, reading: bool, writing: bool, at_once: bool
) -> None:
    cancelled: list[bool] = []
    made = stream(kind, cancelled)
    made.reading, made.writing = reading, writing
    made.interrupt()
    made.interrupt()
    assert (cancelled, made.ending) == ([True] if at_once else [], True)
