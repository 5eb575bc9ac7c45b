"""The invariants of a call (docs/calls.md), checked after each step: what holds at any moment.

What must hold of a call that has ended is in `outcomes`.
"""

import asyncio
from collections import Counter
from itertools import pairwise
from typing import Any

from tests.unit.stateful import caller, outcomes
from tests.unit.stateful.layers import tag_of
from tests.unit.stateful.wire import DEADLINE_EXCEEDED, LATE, FakeChannel, FakeNative
from tests.unit.stateful.world import (
    ATTEMPT_TIMEOUT,
    DRAIN_TIMEOUT,
    IDEMPOTENT,
    MAX_ATTEMPTS,
    MAX_BACKOFF,
    ONE_REQUEST,
    STREAMS,
    UNAVAILABLE,
    Made,
    World,
)

#: Seconds within which the watchdog ends a call that outlives its deadline in gRPC.
FORGOTTEN = 1.6
_SOON = 0.001
_HEDGING_DELAY = 0.05


class Invariants:
    """Watches one world. `check` is called after each step, `check_end` when the channel has been closed."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._seen_calls = self._seen_natives = 0
        #: The running calls, and the number of native calls of ended ones.
        self._open: list[Made] = []
        self._final: dict[str, int] = {}
        self._ready: set[str] = set()
        #: Loop time of the last change of the set of ready endpoints.
        self._turned = world.loop.time()
        self._currents: set[FakeChannel] = set()
        self._forgetful = False
        self._wakes = caller.Wakes(world)

    def check(self) -> None:
        world = self.world
        self._open += world.made[self._seen_calls :]
        self._seen_calls = len(world.made)
        self._forgetful = self._forgetful or world.wire.forgetful
        if not world.closed:
            self.only_connected_endpoints_are_picked_from()
            self.connections_that_are_given_up_are_closed()
        self.every_call_ends_once_with_one_code()
        self.hooks_that_were_entered_are_left()
        self.what_is_in_flight_is_counted()
        self.what_waits_is_counted()
        self.nothing_outlives_its_deadline()
        self.one_attempt_answers()
        self.only_what_is_harmless_is_sent_again()
        self.retries_keep_to_their_rules()
        self.retries_keep_to_the_budget()
        self.no_call_is_forgotten()
        self.errors_of_layers_are_counted()
        assert world.told == []
        assert self._wakes.for_nothing == 0
        for made in self._open:
            caller.who_gives_up_is_heard(world, made)
        for made in [made for made in self._open if world.done(made)]:
            outcomes.check(world, made)
            if (call := world.record(made)) is not None:
                caller.who_gives_up_is_told_so(world, made, call)
                caller.the_grace_is_kept(world, made, call)
            self._open.remove(made)
            self._final[made.tag] = len(world.wire.of(made.tag))

    def check_end(self) -> None:
        world = self.world
        self.check()
        assert not self._open
        assert not world.attempts.live
        assert not world.inner_attempts.live
        assert not world.wire.live()
        assert world.channel.state()["waiting"] == 0
        assert world.metric("mesh_breaker_in_flight") == 0
        assert all(channel.closed for channel in world.wire.channels)
        assert not [task for task in asyncio.all_tasks(world.loop) if not task.done()]
        caller.no_timer_is_left(world)
        for made in world.made:
            assert world.calls.left.get(made.tag, []) == [
                c.code for c in world.calls.entered.get(made.tag, [])
            ]
            assert made.consumer is None or made.ends == 1

    # -- one end ---------------------------------------------------------------------------------

    def every_call_ends_once_with_one_code(self) -> None:
        world = self.world
        for made in self._open:
            entered, left = world.calls.entered.get(made.tag, []), world.calls.left.get(made.tag, [])
            done = world.done(made)
            assert left == [call.code for call in entered] * done
            assert made.call is None or made.call.done() is done
            assert made.consumer is None or made.ends == done
        for tag, natives in self._final.items():
            assert len(world.wire.of(tag)) == natives

    def hooks_that_were_entered_are_left(self) -> None:
        world = self.world
        for made in self._open:
            inner = world.inner.entered.get(made.tag, [])
            assert len(inner) <= 1
            left = world.inner.left.get(made.tag, [])
            assert left == [call.code for call in inner] * world.done(made)
        for attempts in (world.attempts, world.inner_attempts):
            assert len(attempts.entered) == len(attempts.left) + len(attempts.live)
        running = {made.tag for made in self._open if not world.done(made)}
        assert {tag_of(attempt.call) for attempt in world.attempts.live} <= running
        if not world.options.tight:  # what the breaker refuses reaches no layer of the application
            attempted = Counter({tag: len(codes) for tag, codes in world.calls.attempted.items()})
            assert attempted == Counter(tag_of(attempt.call) for attempt in world.attempts.left)

    def what_is_in_flight_is_counted(self) -> None:
        world = self.world
        live = world.attempts.live
        counts = Counter(attempt.endpoint for attempt in live)
        assert [e.in_flight for e in world.attempts.endpoints] == [
            counts[e] for e in world.attempts.endpoints
        ]
        assert world.metric("mesh_breaker_in_flight") == len(live) <= world.options.concurrent
        natives = [n for n in world.wire.natives[-200:] if n.status is None or not n.responded]
        late = [n for n in natives if n.status is not None]
        assert len(natives) - len(late) <= len(live) <= len(natives) + len(self._held())
        assert {n.tag for n in natives if n.status is None} <= {tag_of(attempt.call) for attempt in live}

    def what_waits_is_counted(self) -> None:
        world = self.world
        waiting = world.channel.state()["waiting"]
        idle = [made for made in self._open if not world.done(made) and not self._live(made)]
        assert waiting <= min(len(idle), world.options.pending)
        assert not waiting or not world.channel._core.balancer.rotation

    # -- time ------------------------------------------------------------------------------------

    def nothing_outlives_its_deadline(self) -> None:
        world = self.world
        now, grace = world.loop.time(), FORGOTTEN if self._forgetful else LATE + _SOON
        for made in self._open:
            call = world.record(made)
            assert call is not None or world.done(made)
            if call is not None:
                deadline = call.deadline or 0.0
                assert world.done(made) or now <= deadline + grace
                for native in world.wire.of(made.tag):
                    assert native.deadline is not None
                    assert native.deadline <= deadline + _SOON
                    if world.options.limits(made.kind):
                        assert native.deadline <= native.began + ATTEMPT_TIMEOUT + _SOON

    def no_call_is_forgotten(self) -> None:
        """A running call has an attempt, waits for an endpoint, or is about to retry."""
        world, now = self.world, self.world.loop.time()
        for made in self._open:
            if world.done(made) or self._live(made) or world.closed:
                continue
            last = world.last(made)
            moved = max(self._turned, made.started, last.ended if last and last.ended else 0.0)
            if self._ready:
                assert now <= moved + MAX_BACKOFF + _SOON
            elif not made.patient and self._hopeless():
                assert now <= moved + MAX_ATTEMPTS * MAX_BACKOFF + _SOON

    # -- answers and attempts --------------------------------------------------------------------

    def one_attempt_answers(self) -> None:
        world = self.world
        for made in self._open:
            natives = world.wire.of(made.tag)
            if made.committed is not None:
                assert len(natives) == made.committed
                assert len([n for n in natives if n.status is None]) <= 1
            if made.received:
                winner = world.wire.natives[int(made.received[0].split(b":")[0])]
                assert winner in natives
                sent = winner.sent if made.kind in STREAMS else [b"%d:0" % winner.number]
                assert made.received == sent[: len(made.received)]

    def only_what_is_harmless_is_sent_again(self) -> None:
        for made in self._open:
            natives = self.world.wire.of(made.tag)
            seen = [native for native in natives if native.seen]
            assert len(seen) <= (MAX_ATTEMPTS if made.kind in IDEMPOTENT else 1)
            if made.kind not in ONE_REQUEST:
                assert len(natives) <= 1
            if not made.patient:
                assert len(natives) <= MAX_ATTEMPTS

    def retries_keep_to_their_rules(self) -> None:
        """A retry follows a failure that permits it, and no earlier than the server's pushback."""
        options = self.world.options
        for made in self._open:
            hedged = options.hedges(made.kind)
            natives = self.world.wire.of(made.tag)
            if hedged:
                self._hedges_keep_to_their_rules(natives)
            for native, following in () if hedged else pairwise(natives):
                assert native.ended is not None
                self._follows_as_retry(native, following, options.limits(made.kind))

    def _follows_as_retry(self, native: FakeNative, following: FakeNative, limited: bool) -> None:
        assert native.status is not None
        assert native.ended is not None
        assert native.ended <= following.began
        pushback = outcomes.pushback(native)
        assert pushback is None or 0 <= pushback <= following.began - native.ended + _SOON
        if native.said:
            assert native.status[0] is UNAVAILABLE
        if native.status[0] is DEADLINE_EXCEEDED:
            assert limited
        if native.was_cancelled:
            assert self._left(native.channel)

    def _hedges_keep_to_their_rules(self, natives: list[FakeNative]) -> None:
        """Each follows the one before after the delay, or as soon as any of them has failed (gRFC A6)."""
        for native in natives:
            pushback = outcomes.pushback(native)
            if pushback is not None and pushback < 0:
                assert native.ended is not None
                assert natives[-1].began <= native.ended
        early = 0
        for number, (native, following) in enumerate(pairwise(natives), start=1):
            early += following.began < native.began + _HEDGING_DELAY - _SOON
            failed = [n for n in natives[:number] if n.ended is not None and n.ended <= following.began]
            assert early <= len(failed)

    def retries_keep_to_the_budget(self) -> None:
        world, now = self.world, self.world.loop.time()
        calls = [made for made in world.made if made.started > now - 20]
        bound = max(0.2 * len(calls), 10 * world.options.config.retry.budget_floor)
        repeated = [
            native
            for made in world.made
            if not made.patient
            for native in world.wire.of(made.tag)[1:]
            if native.began > now - 9
        ]
        assert len(repeated) <= bound + 1

    # -- connections -----------------------------------------------------------------------------

    def only_connected_endpoints_are_picked_from(self) -> None:
        """An endpoint is in rotation exactly while the connection that carries its calls is connected."""
        world, connections = self.world, self.world.connections
        connections.update(world.loop.time())
        ready = connections.ready()
        if ready != self._ready:
            self._ready, self._turned = ready, world.loop.time()
        ejected = world.channel.state()["ejected"].keys()
        rotation = {endpoint.address for endpoint in world.channel._core.balancer.rotation}
        assert rotation == (ready - ejected or ready)
        currents = {slot.current for slot in connections.slots.values()}
        for native in world.wire.natives[self._seen_natives :]:
            assert native.channel in currents | self._currents
        self._seen_natives, self._currents = len(world.wire.natives), currents

    def connections_that_are_given_up_are_closed(self) -> None:
        """They are closed when their last call ends, or after the drain timeout if their address left."""
        world, now = self.world, self.world.loop.time()
        held = {attempt.connection.channel for attempt in self._held()}
        for given_up in world.connections.given_up:
            channel = given_up.channel
            assert channel.closed or channel.natives or channel in held
            if given_up.since is not None:
                assert channel.closed or now <= given_up.since + DRAIN_TIMEOUT + _SOON
        assert not [slot for slot in world.connections.slots.values() if slot.current.closed]

    # -- the mesh's own machinery ----------------------------------------------------------------

    def errors_of_layers_are_counted(self) -> None:
        world = self.world
        raised = world.trouble.mood.raised + world.attempt_trouble.mood.raised
        assert world.metric("mesh_layer_errors_total") == raised
        assert world.metric("mesh_task_restarts_total") == world.resolver.broken

    # -- helpers ---------------------------------------------------------------------------------

    def _live(self, made: Made) -> bool:
        if any(n.status is None or not n.responded for n in self.world.wire.of(made.tag)):
            return True
        return any(tag_of(attempt.call) == made.tag for attempt in self._held())

    def _held(self) -> list[Any]:
        """Return the attempts of hedged streams that keep a first message for a caller who does not read."""
        return [attempt for attempt in self.world.attempts.live if getattr(attempt, "holds", False)]

    def _left(self, channel: FakeChannel) -> bool:
        return any(g.channel is channel and g.since is not None for g in self.world.connections.given_up)

    def _hopeless(self) -> bool:
        """Return whether every connection has failed to connect."""
        slots = self.world.connections.slots.values()
        return all(not slot.current.ready and slot.current.failed for slot in slots)
