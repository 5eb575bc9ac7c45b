"""The machines of a call and of an attempt: what comes too late changes nothing."""

import random

import grpc
import pytest

from grpcmesh.call import ClientCall, Kind, Method
from grpcmesh.client.machines import AttemptState, CallMachine, CallState, Do, LiveAttempt, Rules, Status
from grpcmesh.config import RetryConfig
from grpcmesh.retry import RetryBudget, RetryPolicy, settings_of

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def call() -> ClientCall:
    return ClientCall(Method.parse("/a.B/C", Kind.UNARY), "b", 0.0)


@pytest.fixture
def machine(call: ClientCall) -> CallMachine:
    config = RetryConfig()
    retry = RetryPolicy(settings_of(config), RetryBudget(config), random.Random(0))
    return CallMachine(call, Rules(retry, idempotent=True, resendable=True), patient=False)


class Endpoint:
    address = "127.0.0.1:1"


def attempt(call: ClientCall) -> LiveAttempt:
    return LiveAttempt(call, Endpoint(), 1, 0.0)


def test_an_attempt_ends_once(call: ClientCall) -> None:
    first, later = Status(UNAVAILABLE, "first"), Status(OK, "later")
    live = attempt(call)
    assert live.end(first, 1.0)
    assert not live.end(later, 2.0)
    assert not live.end(None, 3.0)
    assert (live.code, live.status, live.ended) == (UNAVAILABLE, first, 1.0)


def test_an_attempt_that_was_delivered_is_committed_and_ends_with_its_code(call: ClientCall) -> None:
    live = attempt(call)
    live.deliver()
    assert live.state is AttemptState.COMMITTED
    assert live.end(Status(UNAVAILABLE, "cut"), 1.0)
    assert (live.state, live.code) == (AttemptState.ENDED, UNAVAILABLE)


def test_an_attempt_that_has_ended_is_not_committed(call: ClientCall) -> None:
    live = attempt(call)
    live.end(None, 1.0)
    live.deliver()
    assert live.state is AttemptState.ENDED


def test_a_call_that_has_ended_hears_nothing_more(machine: CallMachine, call: ClientCall) -> None:
    assert machine.start(0.0) is Do.PICK
    live = attempt(call)
    machine.begun(live)
    assert machine.cancel("enough") is Do.END
    status = machine.status
    assert live.end(Status(UNAVAILABLE, "cut"), 1.0)
    assert machine.attempt_ended(live, 1.0) is Do.NOTHING
    for event in (
        machine.expire(),
        machine.cancel("again"),
        machine.fail(Status(UNAVAILABLE, "late")),
        machine.start(2.0),
        machine.endpoints_changed(2.0),
        machine.backoff_over(2.0),
        machine.hedge_due(2.0),
        machine.without_endpoint(2.0, True, "none"),
    ):
        assert event is Do.NOTHING
    assert (machine.state, machine.status, call.code) == (CallState.ENDED, status, grpc.StatusCode.CANCELLED)


def test_nothing_is_picked_after_the_deadline(machine: CallMachine, call: ClientCall) -> None:
    call.deadline = 1.0
    assert machine.start(0.0) is Do.PICK
    assert machine.without_endpoint(0.0, True, "none yet") is Do.WAIT
    assert machine.endpoints_changed(1.0) is Do.END
    assert call.code is grpc.StatusCode.DEADLINE_EXCEEDED
