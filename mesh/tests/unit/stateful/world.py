"""A real channel over the fake wire, in virtual time, and the calls that are made on it."""

import asyncio
import gc
import random
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import grpc
import pytest

from grpcmesh.call import ClientCall
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import BalancerConfig, HealthConfig, MeshConfig, RetryConfig
from grpcmesh.resolver import Address
from grpcmesh.service_config import (
    CircuitBreaker,
    HedgingPolicy,
    MethodConfig,
    MethodName,
    RetryPolicy,
    ServiceConfig,
    ServiceConfigStore,
)
from grpcmesh.testing import ping_pb2
from grpcmesh.testing.clock import VirtualLoop
from grpcmesh.testing.resolver import FakeResolver
from tests.unit.stateful.connections import Connections
from tests.unit.stateful.layers import Attempts, AttemptTrouble, Calls, Trouble
from tests.unit.stateful.wire import TAG, FakeNative, Wire

assert ping_pb2.DESCRIPTOR  # its methods are known to the descriptor pool
T = TypeVar("T")

ADDRESSES = ["127.0.0.1:1", "127.0.0.1:2", "127.0.0.1:3"]
SERVICE = "mesh.testing.PingService"
#: Method by kind of call; Ping and Count are idempotent by their proto, Poke is not. `manual` writes.
METHODS = {
    "unary": "Ping",
    "poke": "Poke",
    "stream": "Count",
    "client": "Sum",
    "bidi": "Echo",
    "manual": "Echo",
}
IDEMPOTENT, STREAMS = {"unary", "stream"}, {"stream", "bidi", "manual"}
ONE_REQUEST, UNARY = {"unary", "poke", "stream"}, {"unary", "poke", "client"}

MAX_ATTEMPTS, MAX_BACKOFF, DRAIN_TIMEOUT, ATTEMPT_TIMEOUT = 3, 1.0, 2.0, 0.3
#: Slightly more than the longest first backoff of a retry, in seconds.
BACKOFF = 0.11
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
CONFIG = MeshConfig(
    "client",
    balancer=BalancerConfig(slow_start=0.0, drain_timeout=DRAIN_TIMEOUT),
    health=HealthConfig(watch=False),
    retry=RetryConfig(max_attempts=MAX_ATTEMPTS, base_backoff=0.1, max_backoff=MAX_BACKOFF),
)


@dataclass(frozen=True)
class Options:
    """The settings of the channel of one example.

    Args:
        hedged: Whether the methods without side effects are hedged.
        attempt_timeout: Whether attempts of other unary calls have a timeout of their own.
        tight: Whether the retry budget and the circuit breaker's limits are small enough to be reached.
        slow: Whether connections are made only when the test says so.
        grace: Grace period, in seconds, with which the channel is closed at the end.
    """

    policy: Any = "round_robin"
    seed: int = 0
    hedged: bool = False
    attempt_timeout: bool = False
    tight: bool = False
    slow: bool = False
    grace: float | None = None

    def hedges(self, kind: str) -> bool:
        """Return whether calls of this kind are hedged."""
        return self.hedged and kind in IDEMPOTENT

    def limits(self, kind: str) -> bool:
        """Return whether attempts of calls of this kind have a timeout of their own."""
        return self.attempt_timeout and kind not in STREAMS and not self.hedges(kind)

    @property
    def pending(self) -> int:
        """Return the number of calls that may wait for an endpoint."""
        return 2 if self.tight else 1024

    @property
    def concurrent(self) -> int:
        """Return the number of attempts that may be in flight."""
        return 6 if self.tight else 1024

    @property
    def config(self) -> MeshConfig:
        floor = 0.2 if self.tight else 100.0
        return replace(
            CONFIG,
            balancer=replace(CONFIG.balancer, policy=self.policy),
            retry=replace(CONFIG.retry, budget_floor=floor),
        )

    @property
    def service_config(self) -> ServiceConfig:
        codes = frozenset({UNAVAILABLE})
        methods = []
        if self.hedged:
            hedging = HedgingPolicy(MAX_ATTEMPTS, 0.05, non_fatal_status_codes=codes)
            names = tuple(MethodName(SERVICE, METHODS[kind]) for kind in sorted(IDEMPOTENT))
            methods.append(MethodConfig(names, hedging_policy=hedging))
        if self.attempt_timeout:
            retry = RetryPolicy(MAX_ATTEMPTS, 0.1, MAX_BACKOFF, 2.0, codes, ATTEMPT_TIMEOUT)
            methods.append(MethodConfig((MethodName(),), retry_policy=retry))
        breaker = CircuitBreaker(self.concurrent, self.pending)
        return ServiceConfig(method_configs=tuple(methods), circuit_breaker=breaker)


@dataclass(eq=False, repr=False)
class Made:
    """A call that the test has made, and its outcome."""

    tag: str
    kind: str
    #: The call object. None if the test has dropped it.
    call: Any
    patient: bool
    #: Loop time at which it was made.
    started: float
    #: Whether its caller cancelled or dropped it, or closed the channel.
    asked: bool = False
    #: Whether its metadata or its requests cannot be sent.
    spoilt: bool = False
    #: Number of done callbacks that were called.
    ends: int = 0
    consumer: Any = None
    received: list[bytes] = field(default_factory=list)
    #: The error that its caller caught, and whether the caller read to the end.
    raised: BaseException | None = None
    finished: bool = False
    #: Number of tasks of the test that are in one of its operations, beside its consumer.
    used: int = 0
    #: Whether its consumer waits for the initial metadata. Cancelling it there does not cancel the call.
    in_head: bool = False
    #: Loop time at which the grace of the channel ends. None if its caller gave the call up before that.
    kept_until: float | None = None
    #: Number of native calls when a part of an answer was delivered.
    committed: int | None = None


class FakeCredentials:
    """Renewed credentials, for a plaintext connection."""

    def channel_credentials(self, domain: str = "") -> None:
        return None


class BreakableResolver(FakeResolver):
    """A resolver whose watch raises when the test says so."""

    breaks = False
    #: How often its watch has raised.
    broken = 0

    async def watch(self) -> AsyncGenerator[frozenset[Address]]:
        async for addresses in super().watch():
            if self.breaks:
                self.breaks, self.broken = False, self.broken + 1
                raise ValueError("the resolver is broken")
            yield addresses


class World:
    """The channel under test, the fakes below it, and its calls."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.patch = pytest.MonkeyPatch()
        self.wire, self.loop, self.resolver = Wire(), VirtualLoop(), BreakableResolver()
        self.patch.setattr(grpc.aio, "insecure_channel", self.wire.open)
        self.patch.setattr("grpcmesh.tasks.system_rng", lambda: random.Random(options.seed))
        #: The contexts passed to the event loop's exception handler.
        self.told: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda loop, context: self.told.append(context))
        #: The outermost and the innermost of the application's layers, and the faulty layer between them.
        self.calls, self.inner, self.trouble = Calls(), Calls(), Trouble()
        self.attempts, self.inner_attempts, self.attempt_trouble = Attempts(), Attempts(), AttemptTrouble()
        self.made: list[Made] = []
        self.connections = Connections(self.wire)
        self.closed = self.sealed = False
        self.channel = MeshChannel(
            "ping",
            options.config,
            identity=None,
            resolver=self.resolver,
            service_config=ServiceConfigStore(code={"ping": options.service_config}),
            layers=[self.calls, self.trouble, self.inner],
            attempt_layers=[self.attempts, self.attempt_trouble, self.inner_attempts],
            clock=self.loop.time,
            rng=random.Random(options.seed),
        )
        self.pool = self.channel._core.pool
        self.resolve(ADDRESSES[:2])
        self.run(self.channel.start())
        self.settle()
        self.wire.slow = options.slow

    # -- time ------------------------------------------------------------------------------------

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(coroutine)

    def settle(self, seconds: float = 0.0) -> None:
        """Run the loop until it is idle, and then for `seconds` more."""
        self.loop.run_until_idle()
        if seconds:
            self.run(asyncio.sleep(seconds))
            self.loop.run_until_idle()

    def after(self, rounds: int, event: Callable[[], Any]) -> None:
        """Let an event happen after `rounds` rounds of the loop."""
        if rounds:
            self.loop.call_soon(self.after, rounds - 1, event)
        else:
            self.loop.call_soon(event)

    # -- calls -----------------------------------------------------------------------------------

    def make(self, kind: str, **options: Any) -> Made:
        """Make a call. With `consume` it is read to its end, with `head` after its initial metadata."""
        consume, head = options.pop("consume", False), options.pop("head", False)
        extra, requests = options.pop("extra", ()), options.pop("requests", ())
        tag = str(len(self.made))
        made = Made(tag, kind, None, options.get("wait_for_ready", False), self.loop.time())
        made.spoilt = bool(extra) or bool(requests)
        self.made.append(made)

        def begin() -> Any:
            callable_ = self._callable(kind)
            metadata = ((TAG, tag), *extra)
            if kind in ONE_REQUEST:
                return callable_(b"request", metadata=metadata, **options)
            if kind == "manual":
                return callable_(metadata=metadata, **options)
            return callable_(requests or iter([b"one", b"two"]), metadata=metadata, **options)

        made.call = begin() if self.loop.is_running() else self.run(_soon(begin))
        if consume:
            made.call.add_done_callback(lambda call: self._ended(made))
            made.consumer = self.loop.create_task(self._consume(made, made.call, head))
        return made

    def _callable(self, kind: str) -> Any:
        path = f"/{SERVICE}/{METHODS[kind]}"
        if kind in ("unary", "poke"):
            return self.channel.unary_unary(path)
        if kind == "stream":
            return self.channel.unary_stream(path)
        return self.channel.stream_unary(path) if kind == "client" else self.channel.stream_stream(path)

    def _ended(self, made: Made) -> None:
        made.ends += 1

    async def _consume(self, made: Made, call: Any, head: bool) -> None:
        try:
            if head:
                made.in_head = True
                await call.initial_metadata()
                made.in_head = False
                if not call.done():
                    made.committed = len(self.wire.of(made.tag))
            if made.kind in STREAMS:
                async for message in call:
                    self._received(made, message)
            else:
                self._received(made, await call)
            made.finished = True
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as e:
            made.raised = e

    async def read(self, made: Made) -> None:
        """Read one message."""
        made.used += 1
        try:
            message = await made.call.read()
            if message is not grpc.aio.EOF:
                self._received(made, message)
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as e:
            made.raised = e
        finally:
            made.used -= 1

    async def write(self, made: Made, last: bool) -> None:
        """Write one request, and perhaps no more."""
        made.used += 1
        try:
            await made.call.write(b"request")
            if last:
                await made.call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.CancelledError) as e:
            made.raised = e
        except asyncio.InvalidStateError:
            pass  # it has ended, or said that it writes no more
        finally:
            made.used -= 1

    def _received(self, made: Made, message: bytes) -> None:
        made.received.append(message)
        made.committed = len(self.wire.of(made.tag))

    def record(self, made: Made) -> ClientCall | None:
        """Return what the layers saw of it, or None if it ended before its first layer."""
        entered = self.calls.entered.get(made.tag)
        return entered[0] if entered else None

    def done(self, made: Made) -> bool:
        return made.tag in self.calls.left or (made.call is not None and made.call.done())

    def running(self) -> list[Made]:
        return [made for made in self.made if not self.done(made)]

    def cancel(self, made: Made) -> None:
        if made.call is not None and not made.call.done():
            made.asked = True
            made.call.cancel()

    def drop(self, made: Made) -> None:
        if made.call is not None and made.consumer is None:
            made.asked = made.asked or not made.call.done()
            made.call = None

    def stop_reading(self, made: Made) -> None:
        """Cancel the task that reads the call."""
        if not made.consumer.done():
            made.asked = made.asked or not self.done(made)
            made.consumer.cancel()

    # -- the rest of the world -------------------------------------------------------------------

    def resolve(self, addresses: list[str]) -> None:
        """Let the name resolve to these. The channel ignores an empty answer for endpoints that work."""
        self.resolver.set(*sorted(addresses))
        self.connections.wanted = set(addresses) or self.connections.ready() & self.connections.wanted

    def renew(self) -> None:
        """Renew the channel's certificates."""
        if not self.closed:
            self.pool._renew(FakeCredentials())  # type: ignore[arg-type]

    def close(self, grace: float | None) -> None:
        """Close the channel while its calls run."""
        self.closed = True
        for made in self.running():
            if not made.asked:
                made.kept_until = self.loop.time() + (grace or 0.0)
            made.asked = True
        self.run(self.channel.close(grace))
        self.sealed = True
        self.settle()

    def forget(self) -> None:
        """Drop all references to calls. The loop then reports the error of any call that nobody awaited."""
        for made in self.made:
            made.call = None
        gc.collect()
        self.settle()

    def dispose(self) -> None:
        """Leave nothing behind."""
        self.loop.close()
        self.patch.undo()

    # -- what there is ---------------------------------------------------------------------------

    def metric(self, name: str) -> float:
        """Return the sum of a metric's samples."""
        families = list(self.channel.collect())
        return sum(sample.value for f in families for sample in f.samples if sample.name == name)

    def last(self, made: Made) -> FakeNative | None:
        natives = self.wire.of(made.tag)
        return natives[-1] if natives else None


async def _soon(begin: Callable[[], T]) -> T:
    return begin()
