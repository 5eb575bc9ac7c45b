"""Random events against the real channel, in virtual time, with a fake wire: the invariants of a call hold.

Hypothesis draws sequences of events: calls of every kind, answers, failures, broken connections, endpoints
that come and go, new certificates, layers that raise or refuse, cancellations, dropped calls, time that
passes, and the end of the channel. After each event, and at the end, the invariants of docs/calls.md are
checked.
"""

import asyncio
import gc
import logging
import random
from dataclasses import dataclass, field, replace
from typing import Any

import grpc
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from grpcmesh.call import Attempt, AttemptLayer, ClientCall, ClientLayer, Kind, Method
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import BalancerConfig, HealthConfig, MeshConfig, RetryConfig
from grpcmesh.errors import FailedPrecondition
from grpcmesh.retry import is_idempotent
from grpcmesh.testing import ping_pb2
from grpcmesh.testing.clock import VirtualLoop
from grpcmesh.testing.resolver import FakeResolver
from tests.unit.fakewire import Connectivity, Wire

ADDRESSES = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
#: Method by kind; Ping and Count are idempotent by their proto, Poke is not.
PATHS = {"unary": "Ping", "poke": "Poke", "stream": "Count", "client": "Sum", "bidi": "Echo"}
IDEMPOTENT = {"unary", "stream"}
assert ping_pb2.DESCRIPTOR  # its methods are known to the descriptor pool
CODES = [
    grpc.StatusCode.OK,
    grpc.StatusCode.OK,
    grpc.StatusCode.OK,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.CANCELLED,
]
CONFIG = MeshConfig(
    "client",
    balancer=BalancerConfig(slow_start=0.0, drain_timeout=2.0),
    health=HealthConfig(watch=False),
    retry=RetryConfig(max_attempts=3, base_backoff=0.1, max_backoff=1.0),
)
#: Seconds within which a first retry is made.
BACKOFF = 0.11
#: Seconds after a deadline by which the watchdog has ended a call that gRPC forgot.
FORGOTTEN = 2.0


@dataclass(eq=False, repr=False)
class Made:
    """A call that the test has made, and what became of it."""

    kind: str
    call: Any
    flight: Any
    deadline: float
    #: The caller cancelled or dropped it, or closed the channel.
    asked: bool = False
    ends: int = 0
    codes: list[grpc.StatusCode] = field(default_factory=list)
    consumer: Any = None
    received: list[bytes] = field(default_factory=list)
    raised: BaseException | None = None


class Watching(ClientLayer):
    """Counts hooks, and raises or refuses when it is told to."""

    def __init__(self) -> None:
        self.entered: dict[ClientCall, int] = {}
        self.left: dict[ClientCall, list[grpc.StatusCode]] = {}

    def on_start(self, call: ClientCall) -> None:
        self.entered[call] = self.entered.get(call, 0) + 1

    def on_end(self, call: ClientCall) -> None:
        self.left.setdefault(call, []).append(call.code)


class Trouble(ClientLayer):
    mood = "calm"

    def on_start(self, call: ClientCall) -> None:
        self._trouble("start")

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        self._trouble("attempt")

    def on_end(self, call: ClientCall) -> None:
        self._trouble("end")

    def _trouble(self, hook: str) -> None:
        if self.mood == hook:
            raise ValueError(hook)
        if self.mood == "refuse" and hook == "start":
            raise FailedPrecondition("no", "NO")


class WatchingAttempts(AttemptLayer):
    def __init__(self) -> None:
        self.entered: list[Attempt] = []
        self.left: list[Attempt] = []

    def on_start(self, attempt: Attempt) -> None:
        self.entered.append(attempt)

    def on_end(self, attempt: Attempt) -> None:
        self.left.append(attempt)


class TroubleAttempts(AttemptLayer):
    mood = "calm"

    def on_start(self, attempt: Attempt) -> None:
        if self.mood == "start":
            raise ValueError("start")
        if self.mood == "refuse":
            raise FailedPrecondition("no", "NO")

    def on_end(self, attempt: Attempt) -> None:
        if self.mood == "end":
            raise ValueError("end")


class FakeCredentials:
    """New certificates."""

    def channel_credentials(self) -> None:
        return None


class Calls(RuleBasedStateMachine):
    """A channel, its calls, and a wire without wires."""

    @initialize(
        seed=st.integers(0, 100), policy=st.sampled_from(["round_robin", "least_request", "peak_ewma"])
    )
    def open(self, seed: int, policy: Any) -> None:
        logging.disable(logging.ERROR)
        self.patch = pytest.MonkeyPatch()
        self.wire = Wire()
        self.patch.setattr(grpc.aio, "insecure_channel", self.wire.open)
        self.loop = VirtualLoop()
        self.told: list[Any] = []
        self.loop.set_exception_handler(lambda loop, context: self.told.append(context))
        self.watching, self.trouble = Watching(), Trouble()
        self.attempts, self.trouble_attempts = WatchingAttempts(), TroubleAttempts()
        self.calls: list[Made] = []
        self.closed = False
        self.resolver = FakeResolver()
        config = replace(CONFIG, balancer=replace(CONFIG.balancer, policy=policy))
        self.channel = MeshChannel(
            "ping",
            config,
            identity=None,
            resolver=self.resolver,
            layers=[self.watching, self.trouble],
            attempt_layers=[self.attempts, self.trouble_attempts],
            clock=self.loop.time,
            rng=random.Random(seed),
        )
        self.core = self.channel._core
        self.resolver.set(*ADDRESSES[:2])
        self.run(self.channel.start())
        self.settle()

    def run(self, coroutine: Any) -> Any:
        return self.loop.run_until_complete(coroutine)

    def settle(self, seconds: float = 0.0) -> None:
        """Let the loop do what is due now, and within so many seconds."""

        async def pass_time() -> None:
            for _ in range(20):
                await asyncio.sleep(0)
            if seconds:
                await asyncio.sleep(seconds)

        self.run(pass_time())

    # -- calls -----------------------------------------------------------------------------------

    @precondition(lambda self: not self.closed)
    @rule(
        kinds=st.lists(st.sampled_from(sorted(PATHS)), min_size=2, max_size=6),
        timeout=st.sampled_from([None, 5.0, 0.5, 0.05]),
        patient=st.booleans(),
        consume=st.sampled_from([True, True, False]),
    )
    def begin(self, kinds: list[str], timeout: float | None, patient: bool, consume: bool) -> None:
        for kind in kinds:
            made = self.add(kind, timeout=timeout, wait_for_ready=patient)
            if consume:
                made.consumer = self.loop.create_task(self.consume(made, made.call))
        self.settle()

    @precondition(lambda self: not self.closed)
    @rule(
        kind=st.sampled_from(sorted(PATHS)), metadata=st.sampled_from([(("a", "ü"),), (("a-bin", "b"),), 7])
    )
    def begin_with_refused_metadata(self, kind: str, metadata: Any) -> None:
        made = self.add(kind, metadata=metadata)
        assert made.flight.done
        assert made.flight.call.code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.FAILED_PRECONDITION)

    def add(self, kind: str, **options: Any) -> Made:
        async def make() -> Any:
            return self.make(kind)(**options)

        started = self.loop.time()
        call = self.run(make())
        timeout = options.get("timeout") or (5.0 if kind in ("unary", "poke") else 3600.0)
        made = Made(kind, call, call._flight, started + timeout)
        if made.flight.done:
            made.ends, made.codes = 1, [made.flight.call.code]
        made.flight.callbacks = [*(made.flight.callbacks or ()), lambda: self.ended(made)]
        self.calls.append(made)
        return made

    def make(self, kind: str) -> Any:
        path = f"/mesh.testing.PingService/{PATHS[kind]}"
        if kind in ("unary", "poke"):
            return lambda **options: self.channel.unary_unary(path)(b"request", **options)
        if kind == "stream":
            return lambda **options: self.channel.unary_stream(path)(b"request", **options)
        make = self.channel.stream_unary if kind == "client" else self.channel.stream_stream
        return lambda **options: make(path)(iter([b"one", b"two"]), **options)

    def ended(self, made: Made) -> None:
        made.ends += 1
        made.codes.append(made.flight.call.code)

    async def consume(self, made: Made, call: Any) -> None:
        try:
            if made.kind in ("stream", "bidi"):
                async for message in call:
                    made.received.append(message)
            else:
                made.received.append(await call)
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as e:
            made.raised = e

    def running(self) -> list[Made]:
        return [made for made in self.calls if not made.flight.done and made.call is not None]

    @precondition(lambda self: self.running())
    @rule(data=st.data())
    def cancel(self, data: Any) -> None:
        made = data.draw(st.sampled_from(self.running()))
        made.asked = True
        self.loop.call_soon(made.call.cancel)
        self.settle()

    @precondition(lambda self: [m for m in self.running() if m.consumer is not None])
    @rule(data=st.data())
    def cancel_the_consumer(self, data: Any) -> None:
        made = data.draw(st.sampled_from([m for m in self.running() if m.consumer is not None]))
        made.asked = True
        made.consumer.cancel()
        self.settle()

    @precondition(lambda self: [m for m in self.running() if m.consumer is None])
    @rule(data=st.data())
    def drop(self, data: Any) -> None:
        made = data.draw(st.sampled_from([m for m in self.running() if m.consumer is None]))
        made.asked = True
        made.call = None
        self.settle()
        assert made.flight.done

    # -- the wire --------------------------------------------------------------------------------

    @precondition(lambda self: self.wire.live())
    @rule(
        data=st.data(), code=st.sampled_from(CODES), pushback=st.sampled_from([None, "100", "-1", "9" * 400])
    )
    def answer(self, data: Any, code: grpc.StatusCode, pushback: str | None) -> None:
        native = data.draw(st.sampled_from(self.wire.live()))
        trailing = [("grpc-retry-pushback-ms", pushback)] if pushback else []
        self.loop.call_soon(native.end, code, "told to", trailing)
        self.settle(BACKOFF)

    @precondition(lambda self: self.wire.live())
    @rule()
    def send_all(self) -> None:
        """Every response stream gets a message."""
        for native in self.wire.live():
            self.loop.call_soon(native.send)
        self.settle()

    @precondition(lambda self: self.wire.live())
    @rule(code=st.sampled_from(CODES), soon=st.booleans())
    def answer_all(self, code: grpc.StatusCode, soon: bool) -> None:
        """Every native call ends, and so do those that are begun within the backoff."""
        for _ in range(2):
            for native in self.wire.live():
                self.loop.call_soon(native.end, code, "told to")
            self.settle(0.0 if soon else 0.2)

    @precondition(lambda self: self.wire.live())
    @rule(data=st.data(), end=st.booleans())
    def send(self, data: Any, end: bool) -> None:
        """A message of a response stream; perhaps with the end right behind it."""
        native = data.draw(st.sampled_from(self.wire.live()))
        self.loop.call_soon(native.send)
        if end:
            self.loop.call_soon(native.end, data.draw(st.sampled_from(CODES)))
        self.settle(BACKOFF if end else 0.0)

    @rule(address=st.sampled_from(ADDRESSES), up=st.booleans())
    def connect(self, address: str, up: bool) -> None:
        self.loop.call_soon(self.wire.restore if up else self.wire.cut, address)
        self.settle(BACKOFF)

    @rule(address=st.sampled_from(ADDRESSES))
    def blink(self, address: str) -> None:
        """A connection breaks and comes back before the loop has heard of it."""
        self.wire.cut(address)
        self.wire.restore(address)
        self.settle()

    @rule(addresses=st.sets(st.sampled_from(ADDRESSES)))
    def resolve(self, addresses: set[str]) -> None:
        self.resolver.set(*sorted(addresses))
        self.settle()

    @precondition(lambda self: not self.closed)
    @rule()
    def renew(self) -> None:
        async def renew() -> None:
            self.core.pool._renew(FakeCredentials())  # type: ignore[arg-type]

        self.run(renew())
        self.settle()

    @rule(forgetful=st.booleans())
    def forget(self, forgetful: bool) -> None:
        """Native calls forget their deadlines, or do not."""
        self.wire.forgetful = forgetful

    # -- layers, time, the end -------------------------------------------------------------------

    @rule(mood=st.sampled_from(["calm", "calm", "calm", "start", "attempt", "end", "refuse"]))
    def disturb(self, mood: str) -> None:
        self.trouble.mood = mood

    @rule(mood=st.sampled_from(["calm", "calm", "calm", "start", "end", "refuse"]))
    def disturb_attempts(self, mood: str) -> None:
        self.trouble_attempts.mood = mood

    @rule(seconds=st.sampled_from([0.01, 0.2, 1.0, 6.0]))
    def wait(self, seconds: float) -> None:
        self.settle(seconds)

    @precondition(lambda self: not self.closed and len(self.calls) > 12)
    @rule(grace=st.sampled_from([None, 0.3]))
    def close(self, grace: float | None) -> None:
        self.closed = True
        # With a grace, a call may still end by itself.
        for made in self.calls:
            made.asked = made.asked or not made.flight.done
        self.run(self.channel.close(grace))
        self.settle()
        assert all(made.flight.done for made in self.calls)

    # -- the invariants --------------------------------------------------------------------------

    @invariant()
    def every_call_ends_once_with_one_code(self) -> None:
        for made in getattr(self, "calls", ()):
            done = made.flight.done
            assert made.ends == int(done)
            assert made.codes == [made.flight.call.code] * int(done)
            assert (made.flight in self.core.calls) is not done
            assert not (done and made.flight.machine.live)

    @invariant()
    def hooks_that_were_entered_are_left(self) -> None:
        for made in getattr(self, "calls", ()):
            call = made.flight.call
            entered, left = self.watching.entered.get(call, 0), self.watching.left.get(call, [])
            assert left == ([call.code] * entered if made.flight.done else [])
        if hasattr(self, "attempts"):
            live = {a for made in self.calls for a in made.flight.machine.live}
            assert len(self.attempts.left) == len(set(self.attempts.left))
            assert set(self.attempts.entered) - set(self.attempts.left) <= live

    @invariant()
    def what_is_in_flight_is_counted(self) -> None:
        if not hasattr(self, "core"):
            return
        live = [a for made in self.calls for a in made.flight.machine.live]
        endpoints = {a.endpoint for a in self.attempts.entered} | set(self.core.balancer.endpoints.values())
        assert sum(e.in_flight for e in endpoints) == len(live)
        assert sum(len(c.attempts) for c in self.core.pool._runs) == len(live)
        assert len(self.wire.live()) == len([a for a in live if a.native is not None and not a.native.done()])

    @invariant()
    def nothing_outlives_its_deadline(self) -> None:
        if hasattr(self, "calls"):
            late = FORGOTTEN if self.wire.forgetful else 1.6
            assert not [m for m in self.calls if not m.flight.done and self.loop.time() > m.deadline + late]

    @invariant()
    def nobody_is_cancelled_who_did_not_ask_for_it(self) -> None:
        for made in getattr(self, "calls", ()):
            if not made.asked:
                assert not isinstance(made.raised, asyncio.CancelledError)
                status = made.flight.machine.status
                assert status is None or not status.local

    @invariant()
    def one_attempt_answers(self) -> None:
        for made in getattr(self, "calls", ()):
            numbers = {message.split(b":")[0] for message in made.received}
            assert len(numbers) <= 1
            if made.kind not in ("stream", "bidi"):
                assert len(made.received) <= 1

    @invariant()
    def only_what_is_harmless_is_sent_again(self) -> None:
        seen: dict[ClientCall, int] = {}
        for attempt in getattr(self, "attempts", WatchingAttempts()).entered:
            native = getattr(attempt, "native", None)
            if native is not None and native.number not in self.wire.unsent:
                seen[attempt.call] = seen.get(attempt.call, 0) + 1
        for made in getattr(self, "calls", ()):
            if made.kind not in IDEMPOTENT:
                assert seen.get(made.flight.call, 0) <= 1

    @invariant()
    def the_rotation_has_only_connected_endpoints(self) -> None:
        if hasattr(self, "core") and not self.closed:
            for endpoint in self.core.balancer.rotation:
                assert endpoint.transport.channel.state is Connectivity.READY

    @invariant()
    def the_loop_hears_of_no_error(self) -> None:
        assert not getattr(self, "told", [])

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        if not self.closed:
            for made in self.calls:
                made.asked = True
            self.run(self.channel.close())
        self.settle(3.0)
        self.every_call_ends_once_with_one_code()
        self.hooks_that_were_entered_are_left()
        self.what_is_in_flight_is_counted()
        assert not self.core.calls
        assert not self.core.pool.waiting
        assert not [task for task in asyncio.all_tasks(self.loop) if not task.done()]
        self.calls.clear()
        gc.collect()
        self.loop.close()
        self.patch.undo()
        logging.disable(logging.NOTSET)
        assert self.told == []


def test_the_methods_are_what_the_machine_takes_them_for() -> None:
    for kind, name in PATHS.items():
        method = Method.parse(f"/mesh.testing.PingService/{name}", Kind.UNARY)
        assert is_idempotent(method) is (kind in IDEMPOTENT)


Calls.TestCase.settings = settings(
    max_examples=50, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck)
)
TestCalls = Calls.TestCase
