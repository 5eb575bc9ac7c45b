"""The layer stack of one method, and errors that hooks raise."""

import asyncio

import pytest

from grpcmesh.call import Attempt, AttemptLayer, ClientCall, ClientLayer, Kind, Method
from grpcmesh.client.stack import Hooks, client_layers
from grpcmesh.config import MeshConfig
from grpcmesh.errors import FailedPrecondition
from grpcmesh.hooks import HookErrors
from tests.unit.fakes import samples

METHOD = Method.parse("/a.B/C", Kind.UNARY)


class Noted(ClientLayer):
    def __init__(self, name: str, log: list[str]) -> None:
        self.name, self.log = name, log

    def on_end(self, call: ClientCall) -> None:
        self.log.append(f"-{self.name}")


class Starting(Noted):
    error: BaseException | None = None

    def on_start(self, call: ClientCall) -> None:
        self.log.append(f"+{self.name}")
        if self.error is not None:
            raise self.error


class OnlyUnary(Starting):
    def applies(self, method: Method) -> bool:
        return method.kind is Kind.UNARY


def raising(name: str, log: list[str], error: BaseException) -> Starting:
    layer = Starting(name, log)
    layer.error = error
    return layer


def play(layers: list[ClientLayer], errors: HookErrors, method: Method = METHOD) -> BaseException | None:
    """Enter and leave as the driver does."""
    hooks, call, entered = Hooks(layers, ClientLayer, method), ClientCall(method, "ping", 0.0), 0
    ends, refusal = hooks.ends, None
    try:
        for start in hooks.starts:
            start(call)
            entered += 1
    except (Exception, asyncio.CancelledError) as e:
        ends, refusal = hooks.resume(call, entered, e, errors)
    for end in ends:
        end(call)
    return refusal


def test_the_way_back_is_the_way_in_reversed() -> None:
    log: list[str] = []
    play([Starting("a", log), Noted("b", log), Starting("c", log)], HookErrors("client"))
    assert log == ["+a", "+c", "-c", "-b", "-a"]


def test_a_layer_that_refuses_is_not_left_nor_are_those_below_it() -> None:
    log: list[str] = []
    no = FailedPrecondition("no", "NO")
    layers = [Starting("a", log), Noted("b", log), raising("c", log, no), Noted("d", log), Starting("e", log)]
    errors = HookErrors("client")
    assert play(layers, errors) is no
    assert log == ["+a", "+c", "-b", "-a"]
    assert samples(errors) == {}


@pytest.mark.parametrize("error", [ValueError("oh"), asyncio.CancelledError()])
def test_a_layer_that_raises_is_left_out_counted_and_logged_once(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []
    errors = HookErrors("client")
    layers = [Starting("a", log), raising("b", log, error), raising("c", log, error), Starting("d", log)]
    for _ in range(2):
        log.clear()
        assert play(layers, errors) is None
        assert log == ["+a", "+b", "+c", "+d", "-d", "-a"]
    assert samples(errors) == {"mesh_layer_errors_total{hook=on_start,layer=Starting,side=client}": 4.0}
    assert len(caplog.records) == 1


def test_a_layer_that_refuses_after_one_that_raised() -> None:
    log: list[str] = []
    no = FailedPrecondition("no", "NO")
    layers = [Starting("a", log), raising("b", log, ValueError("oh")), raising("c", log, no)]
    assert play(layers, HookErrors("client")) is no
    assert log == ["+a", "+b", "+c", "-a"]


def test_a_hook_that_is_not_overridden_costs_nothing() -> None:
    hooks = Hooks([ClientLayer(), ClientLayer()], ClientLayer, METHOD)
    assert (hooks.starts, hooks.attempted, hooks.ends) == ((), (), ())
    hooks = Hooks([AttemptLayer()], AttemptLayer, METHOD)
    assert (hooks.starts, hooks.attempted, hooks.ends) == ((), (), ())


def test_a_layer_takes_part_in_the_calls_that_it_declares() -> None:
    log: list[str] = []
    layers: list[ClientLayer] = [OnlyUnary("a", log), Starting("b", log)]
    play(layers, HookErrors("client"), Method.parse("/a.B/Stream", Kind.SERVER_STREAM))
    assert log == ["+b", "-b"]
    log.clear()
    play(layers, HookErrors("client"))
    assert log == ["+a", "+b", "-b", "-a"]


def test_every_call_has_a_deadline_whatever_the_stack() -> None:
    own = ClientLayer()
    layers = client_layers(MeshConfig("x"), None, [own])
    call = ClientCall(METHOD, "ping", 100.0)
    for layer in layers:
        layer.on_start(call)
    assert layers[0] is own
    assert call.deadline == 105.0


def test_an_attempt_knows_its_call() -> None:
    call = ClientCall(METHOD, "ping", 0.0)
    attempt = Attempt(call, object(), 1, 2.0)
    assert (attempt.call, attempt.number, attempt.started) == (call, 1, 2.0)
    assert tuple(attempt.trailing_metadata()) == ()
