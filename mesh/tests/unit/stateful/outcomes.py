"""Checks of calls that have ended: the code of each has to be explained by its events."""

import asyncio

import grpc

from grpcmesh.call import ClientCall
from tests.unit.stateful.wire import CANCELLED, DEADLINE_EXCEEDED, OK, UNAVAILABLE, FakeNative
from tests.unit.stateful.world import (
    IDEMPOTENT,
    MAX_ATTEMPTS,
    MAX_BACKOFF,
    ONE_REQUEST,
    STREAMS,
    Made,
    World,
)

#: Seconds by which an attempt's timeout may be shorter than the deadline (resolution of gRPC's header).
_GRAIN = 0.11
#: Details with which the mesh itself ends calls as UNAVAILABLE, unlike gRPC and servers.
_REASONS = (
    "no endpoint of ping is",
    "is no longer an endpoint of ping",
    "the channel has been closed",
    "the circuit breaker of ping is open",
)


def pushback(native: FakeNative) -> float | None:
    """Return the server's pushback (s). It is negative if it forbids retries, and None if there is none."""
    if native.status is None or not native.said:
        return None
    text = dict(native.status[2]).get("grpc-retry-pushback-ms")
    if text is None:
        return None
    return int(text) / 1000 if str(text).lstrip("-").isdigit() and abs(int(text)) < 2**31 else -1.0


def check(world: World, made: Made) -> None:
    """Check a call that has ended since the last step."""
    natives = world.wire.of(made.tag)
    assert not [native for native in natives if native.status is None]
    call = world.record(made)
    if call is None:
        assert made.spoilt
        return
    nobody_is_cancelled_who_did_not_ask_for_it(world, made, call)
    a_good_answer_stays_good(world, made, call)
    the_answer_is_whole(world, made, call)
    the_code_is_explained(world, made, call)
    what_may_be_tried_again_is(world, made, call)


def nobody_is_cancelled_who_did_not_ask_for_it(world: World, made: Made, call: ClientCall) -> None:
    if not made.asked:
        said = [n for n in world.wire.of(made.tag) if n.said and n.status and n.status[0] is CANCELLED]
        assert not isinstance(made.raised, asyncio.CancelledError)
        assert call.code is not CANCELLED or said


def a_good_answer_stays_good(world: World, made: Made, call: ClientCall) -> None:
    """A good answer is kept whatever the layers do and however the other attempts end."""
    good = [n for n in world.wire.of(made.tag) if n.said and n.status and n.status[0] is OK and n.responded]
    if made.kind in STREAMS and world.options.hedges(made.kind) and call.code is DEADLINE_EXCEEDED:
        return  # its first message was kept for a caller who never read it
    if made.kind in STREAMS and world.options.hedges(made.kind):
        # The first to send a message has won: how the others end is heard of, and changes nothing.
        others = [n for n in world.wire.of(made.tag) if n.said and n.sent and n not in good]
        good = [] if any(n.status and n.status[0] is call.code for n in others) else good
    if good and not made.asked and not made.spoilt and not world.wire.late:
        assert call.code is OK


def the_answer_is_whole(world: World, made: Made, call: ClientCall) -> None:
    if call.code is OK:
        good = [n for n in world.wire.of(made.tag) if n.said and n.status and n.status[0] is OK]
        assert good
    if made.finished:
        assert call.code is OK
        if made.kind in STREAMS:
            assert made.received in [n.sent for n in good]
        else:
            assert made.received in [[b"%d:0" % n.number] for n in good]
    if made.kind not in ONE_REQUEST and made.kind != "manual" and call.code is OK and not made.spoilt:
        assert len(good) == 1


def the_code_is_explained(world: World, made: Made, call: ClientCall) -> None:
    code, refused = call.code, world.trouble.refused | world.attempt_trouble.refused
    if code in (OK, CANCELLED):
        return  # as above
    if code is grpc.StatusCode.FAILED_PRECONDITION:
        assert made.tag in refused
    elif code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN):
        assert made.spoilt
    elif code is DEADLINE_EXCEEDED:
        assert _timed_out(world, made, call)
    elif code is UNAVAILABLE:
        details = _details(world, made)
        words = {n.status[1] for n in world.wire.of(made.tag) if n.status and not n.was_cancelled}
        assert details in words or any(reason in details for reason in _REASONS)
    else:
        assert [n for n in world.wire.of(made.tag) if n.said and n.status and n.status[0] is code]


def what_may_be_tried_again_is(world: World, made: Made, call: ClientCall) -> None:
    """Unless the budget or the breaker prevents a retry, a failure is final only for a reason."""
    last = world.last(made)
    simple = not (made.asked or made.spoilt or world.options.tight or world.closed)
    if not simple or last is None or last.status is None or made.tag in world.attempt_trouble.refused:
        return
    if world.options.hedges(made.kind):
        return
    assert call.deadline is not None
    ended = last.ended or 0.0
    enough = call.attempts >= MAX_ATTEMPTS or call.deadline - ended < MAX_BACKOFF + _GRAIN
    if call.code is DEADLINE_EXCEEDED:
        late = world.options.limits(made.kind) and last.ended == last.deadline and made.kind in IDEMPOTENT
        assert not late or made.committed is not None or enough
        return
    asked_not_to = (pushback(last) or 0.0) != 0.0
    if call.code is not UNAVAILABLE or made.committed is not None or asked_not_to or enough:
        return
    assert made.kind not in IDEMPOTENT
    assert made.kind not in ONE_REQUEST or last.seen


def _timed_out(world: World, made: Made, call: ClientCall) -> bool:
    if call.deadline is None or call.ended >= call.deadline - _GRAIN:
        return True
    return any(n.status and n.status[0] is DEADLINE_EXCEEDED for n in world.wire.of(made.tag))


def _details(world: World, made: Made) -> str:
    if made.call is None:
        return _REASONS[0]  # nobody can ask
    details: str = world.run(made.call.details())
    return details
