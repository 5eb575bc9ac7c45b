"""The states of connections and endpoints, event by event."""

from collections.abc import Callable
from typing import Any

import pytest

from grpcmesh.balancer import State
from grpcmesh.client.machines import ConnectionMachine, ConnectionState, EndpointMachine

S = ConnectionState
Event = Callable[[ConnectionMachine], bool]

EVENTS: dict[str, Event] = {
    "connected": lambda c: c.on_connected(),
    "disconnected": lambda c: c.on_disconnected(),
    "failed": lambda c: c.on_failed(),
    "serving": lambda c: c.on_health(True),
    "not serving": lambda c: c.on_health(False),
    "retired": lambda c: c.retire(),
    "closed": lambda c: c.close(),
}
#: The events that lead to each state.
PATHS: dict[ConnectionState, list[str]] = {
    S.CONNECTING: [],
    S.CHECKING: ["connected"],
    S.READY: ["connected", "serving"],
    S.UNHEALTHY: ["connected", "not serving"],
    S.FAILED: ["failed"],
    S.DRAINING: ["retired"],
    S.CLOSED: ["closed"],
}
#: The table in machines/connection.py. Events that are not listed for a state have no effect.
TABLE: dict[str, dict[ConnectionState, ConnectionState]] = {
    "connected": {S.CONNECTING: S.CHECKING, S.FAILED: S.CHECKING},
    "disconnected": {S.CHECKING: S.FAILED, S.READY: S.CONNECTING, S.UNHEALTHY: S.CONNECTING},
    "failed": dict.fromkeys((S.CONNECTING, S.CHECKING, S.READY, S.UNHEALTHY), S.FAILED),
    "serving": {S.CHECKING: S.READY, S.UNHEALTHY: S.READY},
    "not serving": {S.CHECKING: S.UNHEALTHY, S.READY: S.UNHEALTHY},
    "retired": dict.fromkeys((S.CONNECTING, S.CHECKING, S.READY, S.UNHEALTHY, S.FAILED), S.DRAINING),
    "closed": dict.fromkeys((s for s in S if s is not S.CLOSED), S.CLOSED),
}


def connection(*events: str, watched: bool = True) -> ConnectionMachine:
    machine = ConnectionMachine(watched)
    for event in events:
        EVENTS[event](machine)
    return machine


@pytest.mark.parametrize("state", list(S))
@pytest.mark.parametrize("event", list(EVENTS))
def test_every_event_in_every_state(event: str, state: ConnectionState) -> None:
    machine = connection(*PATHS[state])
    assert machine.state is state
    expected = TABLE[event].get(state, state)
    assert EVENTS[event](machine) is (expected is not state)
    assert machine.state is expected


def test_without_a_watch_a_connection_is_enough() -> None:
    assert connection("connected", watched=False).state is S.READY


def test_a_connection_that_failed_is_in_trouble_until_its_server_answers() -> None:
    assert connection("failed", "connected").troubled
    assert not connection("failed", "connected", "not serving").troubled
    assert not connection("connected").troubled


def test_a_watch_that_breaks_before_the_first_answer_is_trouble_and_afterwards_it_is_not() -> None:
    machine = connection("connected")
    assert machine.on_error("denied")
    assert (machine.troubled, machine.error) == (True, "denied")
    assert not machine.on_error("denied")
    machine = connection("connected", "serving")
    assert machine.on_error("denied")
    assert (machine.state, machine.troubled) == (S.READY, False)


class Wired:
    """A connection over a fake wire."""

    def __init__(self, *events: str) -> None:
        self.machine = connection(*events)

    def on(self, *events: str) -> "Wired":
        for event in events:
            EVENTS[event](self.machine)
        return self


READY = ("connected", "serving")


@pytest.mark.parametrize(
    ("events", "seen"),
    [
        ((), State.CONNECTING),
        (("connected",), State.CONNECTING),
        (READY, State.READY),
        (("connected", "not serving"), State.UNHEALTHY),
        (("failed",), State.FAILED),
        (("failed", "connected"), State.FAILED),
        ((*READY, "disconnected"), State.CONNECTING),
    ],
)
def test_what_the_balancer_sees(events: tuple[str, ...], seen: State) -> None:
    assert EndpointMachine(Wired(*events)).seen is seen


def test_a_new_connection_takes_over_once_its_server_has_said_how_it_is() -> None:
    old, new = Wired(*READY), Wired()
    endpoint = EndpointMachine(old)
    assert endpoint.renew(new) == []
    new.on("connected")
    assert endpoint.changed() == []
    assert endpoint.current is old
    new.on("serving")
    assert endpoint.changed() == [old]
    assert endpoint.current is new


def test_certificates_that_are_refused_cost_nothing_while_the_old_connection_lasts() -> None:
    old, new = Wired(*READY), Wired()
    endpoint = EndpointMachine(old)
    endpoint.renew(new)
    new.on("connected", "disconnected")
    assert endpoint.changed() == []
    assert endpoint.seen is State.READY


def test_an_old_connection_that_breaks_gives_way_and_leaves_no_ready_state_behind() -> None:
    # On a8def03 the endpoint stayed READY on a dead transport, and the pick looped for ever.
    old, new = Wired(*READY), Wired()
    endpoint = EndpointMachine(old)
    endpoint.renew(new)
    old.on("disconnected")
    assert endpoint.changed() == [old]
    assert endpoint.current is new
    assert endpoint.seen is State.CONNECTING
    new.on("failed")
    assert endpoint.seen is State.FAILED


def test_certificates_that_change_again_give_up_the_connection_that_was_being_made() -> None:
    old, first, second = Wired(*READY), Wired(), Wired()
    endpoint = EndpointMachine(old)
    endpoint.renew(first)
    assert endpoint.renew(second) == [first]
    second.on(*READY)
    assert endpoint.changed() == [old]


def test_a_broken_endpoint_takes_the_new_certificates_at_once() -> None:
    old, new = Wired("failed"), Wired()
    endpoint = EndpointMachine(old)
    assert endpoint.renew(new) == [old]
    assert endpoint.current is new


def test_an_endpoint_that_left_gives_up_all_it_has_once() -> None:
    old, new, late = Wired(*READY), Wired(), Wired()
    endpoint: EndpointMachine[Any] = EndpointMachine(old)
    endpoint.renew(new)
    assert endpoint.leave() == [old, new]
    assert endpoint.leave() == []
    assert endpoint.renew(late) == [late]
    assert endpoint.seen is State.DRAINING
