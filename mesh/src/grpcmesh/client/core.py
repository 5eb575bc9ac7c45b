"""The state that the calls of one channel share."""

import asyncio
import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc

from grpcmesh.balancer import Balancer, Verdict
from grpcmesh.breaker import Breaker
from grpcmesh.call import AttemptLayer, ClientLayer, Method, is_mesh_service
from grpcmesh.client.pool import Pool
from grpcmesh.client.settings import Settings
from grpcmesh.clock import Clock
from grpcmesh.hooks import HookErrors
from grpcmesh.resolver import Resolver
from grpcmesh.retry import RetryBudget
from grpcmesh.tasks import Tasks

if TYPE_CHECKING:
    from grpcmesh.client.flight import Flight
    from grpcmesh.client.spec import Spec

#: Services of one target whose health is followed; further ones are judged by that of the process.
_MAX_SERVICES = 16
#: Seconds between two checks for calls past their deadline, and by how many seconds they have to be past it.
_LOOK, _OVER = 1.0, 0.5


async def wait_until(event: asyncio.Event, timeout: float) -> bool:
    """Wait for an event for at most `timeout` seconds. Return whether it is set."""
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return False
    return True


class Timer(Protocol):
    """A callback that will be called later, unless it is cancelled before."""

    def cancel(self) -> None: ...


class Core:
    """The parts of a channel that its calls use.

    Args:
        layers: The call stack, outermost first.
        attempt_layers: The attempt stack, outermost first.
        breaker: The circuit breaker of this target, which is also a layer of the attempt stack.
        secure: Whether the connections are TLS.
    """

    loop: asyncio.AbstractEventLoop
    #: Calls a callback after some seconds.
    later: Callable[[float, Callable[[], object]], Timer]
    #: Makes the event that `finish` waits for.
    _event: type[asyncio.Event] = asyncio.Event

    def __init__(
        self,
        target: str,
        clock: Clock,
        balancer: Balancer,
        resolver: Resolver,
        pool: Pool,
        settings: Settings,
        budget: RetryBudget,
        layers: Sequence[ClientLayer],
        attempt_layers: Sequence[AttemptLayer],
        breaker: Breaker,
        *,
        secure: bool = False,
    ) -> None:
        self.breaker = breaker
        self.target, self.clock, self.balancer, self.resolver = target, clock, balancer, resolver
        self.pool, self.settings, self.budget = pool, settings, budget
        self.layers, self.attempt_layers = layers, attempt_layers
        self.errors = HookErrors("client")
        #: Full names of the services that are called.
        self.services: frozenset[str] = frozenset()
        #: The specs of all multi-callables that are still referenced.
        self.specs: weakref.WeakSet[Spec] = weakref.WeakSet()
        #: Whether it takes calls: it has been started and is not being closed.
        self.open = False
        #: Whether its connections are TLS.
        self.secure = secure
        #: Calls that have not ended, oldest first. A dictionary, because a set has no order to replay.
        self.calls: dict[Flight, None] = {}
        #: The tasks of interceptors that have not returned their call yet.
        self.chains: dict[asyncio.Task[Any], None] = {}
        #: Set when all calls and interceptors have ended. None unless `finish` waits for that.
        self.idle: asyncio.Event | None = None

    def calls_service(self, method: Method) -> None:
        """Note that a stub calls this method, and watch the health of its service from now on.

        May be called from any thread, and before the channel has started.
        """
        if is_mesh_service(method) or len(self.services) >= _MAX_SERVICES or method.service in self.services:
            return
        self.services |= {method.service}
        if not self.open:
            self.follow()
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.follow)

    def follow(self) -> None:
        """Watch at each endpoint what the settings and the called services require."""
        self.pool.follow(self.settings.wanted(self.services))

    @property
    def tasks(self) -> Tasks:
        """Return the owner of the channel's background tasks."""
        return self.pool.tasks

    def start(self) -> None:
        """Begin to resolve and connect. Raises IdentityError if there is no certificate."""
        self.loop = asyncio.get_running_loop()
        self.later = self._timers(self.loop)
        self.pool.start()
        self.open = True
        self.tasks.supervise(self._watch_deadlines, "deadlines")

    def _timers(self, loop: asyncio.AbstractEventLoop) -> Callable[[float, Callable[[], object]], Timer]:
        return loop.call_later

    async def finish(self, grace: float, details: str) -> None:
        """Refuse new calls, wait at most `grace` seconds for calls under way, then cancel them."""
        self.open = False
        try:
            if (self.calls or self.chains) and grace > 0:
                self.idle = self._event()
                await wait_until(self.idle, grace)
        finally:
            for flight in tuple(self.calls):
                flight.cancel(details)
            for chain in tuple(self.chains):
                chain.cancel()

    def ended(self) -> None:
        """Note that a call, or the interceptors of one, have ended."""
        if self.idle is not None and not self.calls and not self.chains:
            self.idle.set()

    def may_wait(self, patient: bool) -> bool:
        """Return whether a call without an endpoint waits for one, or fails now."""
        return patient or self.balancer.verdict is Verdict.WAIT

    def connectivity(self, started: bool) -> grpc.ChannelConnectivity:
        """Return the channel's connectivity. `started`: whether it has begun to resolve."""
        if self.balancer.rotation:
            return grpc.ChannelConnectivity.READY
        if not started:
            return grpc.ChannelConnectivity.IDLE
        waiting = self.balancer.verdict is Verdict.WAIT
        return grpc.ChannelConnectivity.CONNECTING if waiting else grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def why(self, service: str = "") -> str:
        """Return why there is no endpoint for calls of a service, for error details."""
        return f"{self.balancer.why(service)}{f': {self.resolver.error}' if self.resolver.error else ''}"

    async def _watch_deadlines(self) -> None:
        """End calls that gRPC did not end at their deadline, so that no call outlives it."""
        while True:
            await asyncio.sleep(_LOOK)
            self._end_forgotten(self.clock() - _OVER)

    def _end_forgotten(self, over: float) -> None:
        for flight in tuple(self.calls):
            if flight.call.deadline is not None and flight.call.deadline < over:
                flight.expire()
