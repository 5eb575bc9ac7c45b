"""The invariants of calls, under random events, with the real channel over a fake wire in virtual time.

Hypothesis draws sequences of events: calls of every kind, answers, failures, broken connections, endpoints
that come and go, new certificates, layers that raise or refuse, cancellations, dropped calls, and two of
these at almost the same moment. After each, and at the end, the invariants of docs/calls.md are checked
(`tests/unit/stateful`). The sequences are the same in every run."""

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grpcmesh.call import Kind, Method
from grpcmesh.retry import is_idempotent
from tests.unit.stateful.invariants import Invariants
from tests.unit.stateful.layers import ATTEMPT_MOODS, CALL_MOODS
from tests.unit.stateful.requests import not_bytes, raising, raising_later
from tests.unit.stateful.wire import NO_CONNECTION, Connectivity
from tests.unit.stateful.world import (
    ADDRESSES,
    BACKOFF,
    DRAIN_TIMEOUT,
    IDEMPOTENT,
    METHODS,
    SERVICE,
    STREAMS,
    UNARY,
    Made,
    Options,
    World,
)

KINDS = sorted(METHODS)
OK, UNAVAILABLE = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
CODES = [OK, OK, OK, UNAVAILABLE, UNAVAILABLE, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.CANCELLED]
PUSHBACKS = [None, None, None, "100", "-1", "9" * 400]
BAD_METADATA = [(("a", "ü"),), (("a-bin", "b"),), (("x", "\ud800"),), ((1, "b"),)]
RACED = [
    "begin",
    "begin",
    "answer",
    "fail",
    "send",
    "head",
    "cancel",
    "consumer",
    "drop",
    "cut",
    "leave",
    "renew",
    "wait",
]
RESOLVED = [[], *([a] for a in ADDRESSES), ADDRESSES[:2], ADDRESSES[1:], ADDRESSES, ADDRESSES]
#: Options of calls, and whether they are read.
CALL_OPTIONS = st.fixed_dictionaries(
    {
        "timeout": st.sampled_from([None, 5.0, 5.0, 0.5, 0.05]),
        "wait_for_ready": st.booleans(),
        "consume": st.sampled_from([True, True, True, False]),
        "head": st.sampled_from([False, False, True]),
    }
)
#: At most one of two racing events is one of these: the states in between cannot be observed.
CONNECTING = {"cut", "leave", "renew"}


class Machine(RuleBasedStateMachine):
    """A state machine of a channel and its calls over a fake wire."""

    world: World

    @initialize(
        options=st.builds(
            Options,
            policy=st.sampled_from(["round_robin", "least_request", "peak_ewma"]),
            seed=st.integers(0, 100),
            hedged=st.booleans(),
            attempt_timeout=st.sampled_from([False, False, True]),
            tight=st.sampled_from([False, False, True]),
            slow=st.booleans(),
            grace=st.sampled_from([None, 0.3]),
        )
    )
    def open(self, options: Options) -> None:
        logging.disable(logging.ERROR)
        self.world = World(options)
        self.checks = Invariants(self.world)

    @invariant()
    def the_invariants_hold(self) -> None:
        self.checks.check()

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self.world.closed:
                self.world.close(self.world.options.grace)
            self.world.settle(3.0)
            self.checks.check_end()
            self.world.forget()
            assert self.world.told == []
        finally:
            self.world.dispose()
            logging.disable(logging.NOTSET)

    # -- calls -----------------------------------------------------------------------------------

    @precondition(lambda self: not self.world.closed)
    @rule(kinds=st.lists(st.sampled_from(["unary", "poke"]), min_size=1, max_size=4), options=CALL_OPTIONS)
    def begin_unary_calls(self, kinds: list[str], options: dict[str, Any]) -> None:
        self._begin(kinds, options)

    @precondition(lambda self: not self.world.closed)
    @rule(
        kinds=st.lists(st.sampled_from(["stream", "bidi", "client"]), min_size=1, max_size=3),
        options=CALL_OPTIONS,
    )
    def begin_streams(self, kinds: list[str], options: dict[str, Any]) -> None:
        self._begin(kinds, options)

    @precondition(lambda self: not self.world.closed)
    @rule(kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=5), options=CALL_OPTIONS)
    def begin_calls_of_all_kinds(self, kinds: list[str], options: dict[str, Any]) -> None:
        self._begin(kinds, options)

    def _begin(self, kinds: list[str], options: dict[str, Any]) -> None:
        for kind in kinds:
            self._make(kind, options)
        self.world.settle()

    def _make(self, kind: str, options: dict[str, Any]) -> None:
        reading = options["consume"] and kind != "manual"
        self.world.make(kind, **{**options, "consume": reading})

    @precondition(lambda self: not self.world.closed)
    @rule(
        bad=st.tuples(st.sampled_from(KINDS), st.sampled_from(BAD_METADATA))
        | st.tuples(st.sampled_from(["client", "bidi"]), st.sampled_from([raising, raising_later, not_bytes]))
    )
    def begin_what_cannot_be_sent(self, bad: tuple[str, Any]) -> None:
        """Metadata that gRPC refuses ends a call before any attempt; requests that break off end it later."""
        kind, what = bad
        if callable(what):
            self.world.make(kind, requests=what(), consume=True)
            self.world.settle()
            return
        made = self.world.make(kind, extra=what)
        assert made.call.done()
        assert not self.world.wire.of(made.tag)
        code = self.world.run(made.call.code())
        assert code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.FAILED_PRECONDITION)

    @precondition(lambda self: self.world.closed)
    @rule(kind=st.sampled_from(KINDS))
    def begin_on_a_closed_channel(self, kind: str) -> None:
        with pytest.raises(grpc.aio.UsageError):
            self.world.make(kind)
        self.world.made.pop()

    @precondition(lambda self: self._held(STREAMS))
    @rule(data=st.data())
    def read(self, data: Any) -> None:
        made = data.draw(st.sampled_from(self._held(STREAMS)))
        self.world.loop.create_task(self.world.read(made))
        self.world.settle()

    @precondition(lambda self: self._held({"manual"}))
    @rule(data=st.data(), last=st.booleans(), stalled=st.booleans())
    def write(self, data: Any, last: bool, stalled: bool) -> None:
        made = data.draw(st.sampled_from(self._held({"manual"})))
        self.world.wire.stalled = stalled
        self.world.loop.create_task(self.world.write(made, last))
        self.world.settle()

    def _held(self, kinds: set[str]) -> list[Made]:
        """Return the running calls that the test refers to and that nobody reads."""
        return [
            made
            for made in self.world.running()
            if made.kind in kinds and made.call is not None and made.consumer is None
        ]

    @precondition(lambda self: self.world.running())
    @rule(data=st.data(), event=st.sampled_from(["cancel", "consumer", "drop"]))
    def give_up(self, data: Any, event: str) -> None:
        self.world.after(0, self._event(event, data))
        self.world.settle()

    # -- servers ---------------------------------------------------------------------------------

    @precondition(lambda self: self.world.wire.live())
    @rule(
        data=st.data(),
        code=st.sampled_from(CODES),
        pushback=st.sampled_from(PUSHBACKS),
        lies=st.sampled_from([False, False, True]),
    )
    def answer(self, data: Any, code: grpc.StatusCode, pushback: str | None, lies: bool) -> None:
        """Let a server end a native call, perhaps with the details of a connection that was never made."""
        native = data.draw(st.sampled_from(self.world.wire.live()))
        trailing = [("grpc-retry-pushback-ms", pushback)] if pushback else []
        self.world.loop.call_soon(native.answer, code, NO_CONNECTION if lies else "told to", trailing)
        self.world.settle(BACKOFF)

    @precondition(lambda self: self.world.wire.live())
    @rule(
        code=st.sampled_from(CODES),
        details=st.sampled_from(["told to", NO_CONNECTION]),
        wait=st.sampled_from([0.0, 0.2]),
    )
    def answer_all(self, code: grpc.StatusCode, details: str, wait: float) -> None:
        """End every native call, and then those that were begun within the backoff."""
        for _ in range(2):
            for native in self.world.wire.live():
                self.world.loop.call_soon(native.answer, code, details)
            self.world.settle(wait)

    @precondition(lambda self: self._streams())
    @rule(data=st.data(), end=st.booleans(), all_of_them=st.booleans())
    def send(self, data: Any, end: bool, all_of_them: bool) -> None:
        """Send a message of a response stream, perhaps followed at once by its end."""
        natives = self._streams() if all_of_them else [data.draw(st.sampled_from(self._streams()))]
        for native in natives:
            self.world.loop.call_soon(native.send)
            if end:
                self.world.loop.call_soon(native.answer, data.draw(st.sampled_from(CODES)), "told to")
        self.world.settle(BACKOFF if end else 0.0)

    def _streams(self) -> list[Any]:
        paths = {f"/{SERVICE}/{METHODS[kind]}" for kind in STREAMS}
        return [native for native in self.world.wire.live() if native.path in paths]

    @precondition(lambda self: self.world.wire.live())
    @rule(data=st.data())
    def head(self, data: Any) -> None:
        """Deliver the initial metadata of an answer."""
        self.world.after(0, self._event("head", data))
        self.world.settle()

    # -- connections -----------------------------------------------------------------------------

    @rule(
        address=st.sampled_from(ADDRESSES),
        event=st.sampled_from(["connect", "connect", "connect", "cut", "cut", "blink"]),
        kinds=st.lists(st.sampled_from(KINDS), max_size=4),
        options=CALL_OPTIONS,
    )
    def connect(self, address: str, event: str, kinds: list[str], options: dict[str, Any]) -> None:
        """Start, stop or restart a peer, and begin calls before the loop notices."""
        slot = self.world.connections.slots.get(address)
        if event == "blink" and slot is not None and slot.renewed is not None:
            return  # whether the new one takes over depends on whether anybody looked in between
        self.world.loop.call_soon(getattr(self.world.wire, event), address)
        for kind in () if self.world.closed else kinds:
            self.world.loop.call_soon(self._make, kind, options)
        self.world.settle(BACKOFF)

    @precondition(lambda self: self._channels())
    @rule(data=st.data(), state=st.sampled_from([Connectivity.READY, Connectivity.TRANSIENT_FAILURE]))
    def connect_one(self, data: Any, state: grpc.ChannelConnectivity) -> None:
        """Connect or break one connection. Others to the same address stay as they are."""
        channel = data.draw(st.sampled_from(self._channels()))
        self.world.loop.call_soon(channel.turn, state)
        self.world.settle(BACKOFF)

    def _channels(self) -> list[Any]:
        return [channel for channel in self.world.wire.channels if not channel.closed]

    @precondition(lambda self: not self.world.closed)
    @rule(addresses=st.sampled_from(RESOLVED), wait=st.sampled_from([0.0, 0.0, DRAIN_TIMEOUT + 0.1]))
    def resolve(self, addresses: list[str], wait: float) -> None:
        """Resolve other addresses, perhaps for so long that calls to removed ones are cut."""
        self.world.resolve(addresses)
        self.world.settle(wait)

    @precondition(lambda self: not self.world.closed and not self.world.resolver.broken)
    @rule()
    def break_the_resolver(self) -> None:
        self.world.resolver.breaks = True
        self.world.resolve(sorted(self.world.connections.wanted) or ADDRESSES[:1])
        self.world.settle(BACKOFF)

    @precondition(lambda self: not self.world.closed)
    @rule(breaks=st.none() | st.sampled_from(ADDRESSES), first=st.booleans())
    def renew(self, breaks: str | None, first: bool) -> None:
        """Renew the certificates, and perhaps break an endpoint at the same instant."""
        if breaks and first:
            self.world.loop.call_soon(self.world.wire.cut, breaks)
        self.world.loop.call_soon(self.world.renew)
        if breaks and not first:
            self.world.loop.call_soon(self.world.wire.cut, breaks)
        self.world.settle()

    # -- layers, time, the end -------------------------------------------------------------------

    @rule(
        mood=st.tuples(st.just("call"), st.sampled_from(CALL_MOODS))
        | st.tuples(st.just("attempt"), st.sampled_from(ATTEMPT_MOODS)),
        hooks=st.integers(1, 3),
        forgetful=st.sampled_from([False, False, True]),
        late=st.sampled_from([False, False, True]),
    )
    def disturb(self, mood: tuple[str, str], hooks: int, forgetful: bool, late: bool) -> None:
        """Make layers raise or refuse in their next hooks, or native calls ignore deadlines or be late."""
        layer = self.world.trouble if mood[0] == "call" else self.world.attempt_trouble
        layer.mood.set(mood[1], hooks)
        self.world.wire.forgetful, self.world.wire.late = forgetful, late

    @rule(seconds=st.sampled_from([0.01, 0.06, 0.2, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.world.settle(seconds)

    @precondition(lambda self: not self.world.closed)
    @rule(
        data=st.data(), names=st.tuples(st.sampled_from(RACED), st.sampled_from(RACED)), gap=st.integers(0, 4)
    )
    def race(self, data: Any, names: tuple[str, str], gap: int) -> None:
        """Let two events happen, `gap` rounds of the loop apart."""
        first = self._event(names[0], data)
        second = self._event("wait" if CONNECTING.issuperset(names) else names[1], data)
        self.world.after(0, first)
        self.world.after(gap, second)
        self.world.settle()

    @precondition(lambda self: not self.world.closed and len(self.world.made) > 12)
    @rule(grace=st.sampled_from([None, 0.3]), answered=st.booleans())
    def close(self, grace: float | None, answered: bool) -> None:
        """Close the channel. Some calls may end well within the grace period."""
        for native in self.world.wire.live()[::2] if answered else ():
            self.world.loop.call_later(0.1, native.answer, OK)
        self.world.close(grace)

    def _event(self, name: str, data: Any) -> Callable[[], Any]:
        """Return an event that is still to happen."""
        world = self.world
        if name == "begin":
            kind, options = data.draw(st.sampled_from(KINDS)), data.draw(CALL_OPTIONS)
            return lambda: self._make(kind, options)
        if name in ("answer", "fail", "send", "head"):
            return self._on_the_wire(name, data)
        if name in ("cancel", "consumer", "drop"):
            return self._given_up(name, data)
        if name in ("cut", "leave"):
            address = data.draw(st.sampled_from(ADDRESSES))
            rest = sorted(world.connections.wanted - {address})
            return (
                partial(world.resolve, rest) if name == "leave" and rest else partial(world.wire.cut, address)
            )
        return world.renew if name == "renew" else _nothing

    def _on_the_wire(self, name: str, data: Any) -> Callable[[], Any]:
        natives = self._streams() if name == "send" else self.world.wire.live()
        if not natives:
            return _nothing
        native = data.draw(st.sampled_from(natives))
        if name in ("send", "head"):
            event: Callable[[], Any] = getattr(native, name)
            return event
        return partial(native.answer, OK if name == "answer" else UNAVAILABLE, "told to")

    def _given_up(self, name: str, data: Any) -> Callable[[], Any]:
        running = self.world.running()
        if name == "consumer":
            running = [made for made in running if made.consumer is not None and not made.consumer.done()]
        if not running:
            return _nothing
        give_up = {"cancel": self.world.cancel, "drop": self.world.drop, "consumer": self.world.stop_reading}
        return partial(give_up[name], data.draw(st.sampled_from(running)))


def _nothing() -> None: ...


def test_the_methods_are_what_the_machine_takes_them_for() -> None:
    for kind, name in METHODS.items():
        method = Method.parse(f"/{SERVICE}/{name}", Kind.UNARY)
        assert is_idempotent(method) is (kind in IDEMPOTENT)
    assert METHODS.keys() == UNARY | STREAMS


Machine.TestCase.settings = settings(
    max_examples=110,
    stateful_step_count=50,
    phases=(Phase.generate,),  # a shrunk failure takes minutes: raise this by hand
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)
TestCalls = Machine.TestCase
