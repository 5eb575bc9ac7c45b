"""The invariants that concern who makes a call, and who gives it up."""

import asyncio
from typing import Any

from grpcmesh.balancer import Verdict
from grpcmesh.call import ClientCall
from grpcmesh.client.flight import Flight
from grpcmesh.client.pool import Pool
from tests.unit.stateful.wire import CANCELLED
from tests.unit.stateful.world import Made, World

_SOON = 0.001


class Wakes:
    """Sees why calls that wait for an endpoint are woken."""

    def __init__(self, world: World) -> None:
        self._resumed = 0
        #: Calls that were woken although there was nothing to pick, and something to wait for.
        self.for_nothing = 0
        resume, wake = Flight.resume, Pool._wake

        def resumed(flight: Flight) -> None:
            self._resumed += 1
            resume(flight)

        def woken(pool: Pool) -> None:
            balancer = pool._balancer
            reason = balancer.rotation or balancer.verdict is not Verdict.WAIT
            before = self._resumed
            wake(pool)
            if not reason:
                self.for_nothing += self._resumed - before

        world.patch.setattr(Flight, "resume", resumed)
        world.patch.setattr(Pool, "_wake", woken)


def who_gives_up_is_heard(world: World, made: Made) -> None:
    """A call ends when nobody refers to it any more, and when the task that reads it is cancelled."""
    if world.closed:
        return
    assert made.call is not None or made.used or world.done(made)
    if made.consumer is not None and made.consumer.done() and not made.in_head:
        assert world.done(made)


def who_gives_up_is_told_so(world: World, made: Made, call: ClientCall) -> None:
    """The caller that cancels its call, or closes the channel, gets `CancelledError` as in grpc.aio."""
    said = [n for n in world.wire.of(made.tag) if n.said and n.status and n.status[0] is CANCELLED]
    if call.code is not CANCELLED or said:
        return
    assert made.asked
    assert made.raised is None or isinstance(made.raised, asyncio.CancelledError)


def the_grace_is_kept(world: World, made: Made, call: ClientCall) -> None:
    """Closing a channel cancels a call that runs only when the grace is over, and then it does."""
    if call.code is CANCELLED and made.kept_until is not None and not made.spoilt:
        said = [n for n in world.wire.of(made.tag) if n.said and n.status and n.status[0] is CANCELLED]
        assert said or call.ended >= made.kept_until - _SOON
    if made.kept_until is not None:
        assert call.ended <= made.kept_until + _SOON


def no_timer_is_left(world: World) -> None:
    """What has ended is not held until its deadline by a timer that has lost its use."""
    scheduled: list[Any] = world.loop._scheduled  # type: ignore[attr-defined]
    assert not [timer for timer in scheduled if not timer.cancelled()]
