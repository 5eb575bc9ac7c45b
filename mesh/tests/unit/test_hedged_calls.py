"""The result of a hedged call whose attempts end differently, over the fake wire."""

from collections.abc import Iterator

import grpc
import pytest

from tests.unit.stateful.wire import NO_CONNECTION
from tests.unit.stateful.world import ADDRESSES, DRAIN_TIMEOUT, Made, Options, World

OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE


@pytest.fixture
def world() -> Iterator[World]:
    world = World(Options(hedged=True))
    yield world
    world.close(None)
    world.dispose()
    assert world.told == []


def hedged(world: World, *, head: bool = False) -> Made:
    """Make a call and let time pass until two attempts of it run."""
    made = world.make("unary", consume=True, head=head)
    world.settle(0.06)
    assert len(world.wire.live()) == 2
    return made


def test_a_caller_that_waits_for_metadata_goes_on_with_the_attempt_that_runs(world: World) -> None:
    made = hedged(world, head=True)
    first, second = world.wire.live()
    for native in (second, *world.wire.natives[2:]):
        native.answer(UNAVAILABLE, "sick")
    world.settle()  # on a8def03 and after it, until now: the event loop stood still here, for ever
    for native in world.wire.natives[2:]:
        native.answer(UNAVAILABLE, "sick")
    world.settle()
    assert not made.call.done()
    first.head()
    world.settle()
    first.answer(OK, "first")
    world.settle()
    assert made.received == [b"%d:0" % first.number]
    assert world.run(made.call.details()) == "first"


def test_a_caller_that_has_seen_metadata_gets_that_attempts_answer(world: World) -> None:
    made = world.make("unary", consume=True, head=True)
    world.settle(0.06)
    first, second = world.wire.live()
    first.head()
    world.settle()
    assert second.was_cancelled
    assert not made.call.done()
    first.answer(OK)
    world.settle()
    assert made.received == [b"%d:0" % first.number]


def test_a_failure_that_brings_the_last_attempt_forward_leaves_none_to_come(world: World) -> None:
    made = world.make("unary")
    world.settle(0.06)
    world.wire.live()[0].answer(UNAVAILABLE, "sick")
    world.settle(1.0)
    assert made.call.attempts == len(world.wire.natives) == 3


def test_a_server_that_wants_no_more_attempts_gets_none(world: World) -> None:
    world.make("unary")
    world.settle(0.06)
    first, second = world.wire.live()
    first.answer(UNAVAILABLE, "enough", [("grpc-retry-pushback-ms", "-1")])
    world.settle()
    second.answer(UNAVAILABLE, "sick")
    world.settle(1.0)
    assert len(world.wire.natives) == 2


def test_a_fatal_code_ends_the_call_at_once(world: World) -> None:
    made = hedged(world)
    first, second = world.wire.live()
    first.answer(grpc.StatusCode.NOT_FOUND, "none")
    world.settle()
    assert made.call.done()
    assert world.run(made.call.code()) is grpc.StatusCode.NOT_FOUND
    assert second.was_cancelled


def test_no_attempt_is_added_to_one_that_was_decided_for(world: World) -> None:
    made = world.make("unary", consume=True, head=True)
    world.settle()
    (first,) = world.wire.live()
    first.head()
    world.settle(1.0)
    assert world.wire.natives == [first]
    first.answer(OK)
    world.settle()
    assert made.finished


def test_the_details_and_the_metadata_are_those_of_the_answer(world: World) -> None:
    made = hedged(world)
    first, second = world.wire.live()
    first.answer(OK, "first")
    world.settle()
    assert second.was_cancelled
    assert made.received == [b"%d:0" % first.number]
    assert world.run(made.call.details()) == "first"
    world.run(made.call.initial_metadata())


def test_a_server_cannot_pass_for_a_connection_that_was_never_made(world: World) -> None:
    """The call is sent only once, even though its connection is being replaced."""
    made = world.make("poke", consume=True)
    world.settle()
    world.loop.call_soon(world.renew)
    world.settle()
    (native,) = world.wire.live()
    native.answer(UNAVAILABLE, NO_CONNECTION)
    world.settle(1.0)
    assert made.call.done()
    assert [n.path for n in world.wire.natives] == [native.path]


def test_an_answer_that_waits_for_its_reader_outlives_its_connection(world: World) -> None:
    made = world.make("stream")
    world.settle()
    (native,) = world.wire.of(made.tag)
    native.send()
    native.answer(OK)
    world.settle(0.01)
    assert native.done()
    world.resolve([address for address in ADDRESSES if address != native.channel.address])
    world.settle(DRAIN_TIMEOUT + 0.1)
    assert native.channel.closed
    world.run(world.read(made))
    assert made.received == native.sent
    assert world.run(made.call.code()) is OK
    assert world.metric("mesh_drains_total") == 1
