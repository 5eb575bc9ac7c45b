"""MeshChannel: a grpc.aio channel to a service, over all of its replicas. Stubs run on it unchanged.

The way of a call: call layers → retry → balancer → attempt layers → one native channel per replica. Both
stacks are in `grpcmesh.client.stack`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import grpc
from prometheus_client import Metric

from grpcmesh import forking
from grpcmesh.admission import CallerThrottle
from grpcmesh.balancer import Balancer, Subset
from grpcmesh.breaker import Breaker
from grpcmesh.call import AttemptLayer, ClientLayer, Kind, Method
from grpcmesh.client import callables, metrics, stack
from grpcmesh.client.core import Core
from grpcmesh.client.interceptors import hooks as interceptor_hooks
from grpcmesh.client.pool import Pool
from grpcmesh.client.settings import Settings
from grpcmesh.client.spec import Deserializer, Serializer, Spec
from grpcmesh.clock import Clock, Rng, monotonic, system_rng
from grpcmesh.config import MeshConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.outlier import Outliers
from grpcmesh.resolver import DnsResolver, Resolver
from grpcmesh.retry import RetryBudget
from grpcmesh.service_config import Effective, ServiceConfigStore

if TYPE_CHECKING:
    from grpcmesh.telemetry import Telemetry


class MeshChannel(grpc.aio.Channel):
    """Args:
        target: `product`, `product.shop` for another namespace, or a full name; with `:port` or not.
        identity: Certificates for both directions; None: plaintext, for tests and benches.
        resolver: Where the endpoints come from; by default DNS.
        options: Arguments of the native channels, such as `("grpc.max_receive_message_length", 8 << 20)`.
            They go before those of the configuration.
        service_config: Settings of the target and its methods; they are followed when they change.
        telemetry: Traces and measures calls; None: nothing does.
        layers: The application's own layers of the call stack, outermost first.
        attempt_layers: The application's own layers of the attempt stack, outermost first.
        interceptors: Client interceptors of grpc.aio, outermost first. They run once per logical call.
        clock: Monotonic seconds; tests have their own.
        rng: Draws jitter and picks; tests have their own.

    It starts with its first call at the latest. It belongs to the event loop that runs then.
    """

    def __init__(
        self,
        target: str,
        config: MeshConfig,
        *,
        identity: IdentityStore | None,
        resolver: Resolver | None = None,
        options: Sequence[tuple[str, int | str]] = (),
        service_config: ServiceConfigStore | None = None,
        telemetry: "Telemetry | None" = None,
        layers: Sequence[ClientLayer] = (),
        attempt_layers: Sequence[AttemptLayer] = (),
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
        clock: Clock = monotonic,
        rng: Rng | None = None,
    ) -> None:
        self._target = target
        self._started = self._closed = False
        self._inherited: forking.ForkedProcessError | None = None
        self._interceptors = interceptors
        interceptor_hooks(interceptors, grpc.aio.UnaryUnaryClientInterceptor)  # refuses what is none
        rng = rng or system_rng()
        wanted = config.target(target)
        resolver = resolver or DnsResolver(config.resolver, wanted.name, wanted.port)
        budget, store = RetryBudget(config.retry), service_config or ServiceConfigStore()
        settings = Settings(config, store.effective(target), budget, clock, rng)
        outliers = Outliers(target, settings.outlier_detection, clock, rng)
        self._outliers = outliers
        balancing = settings.effective.config.load_balancing
        balancer = Balancer(
            replace(config.balancer, zone=config.preferred_zone),
            target,
            clock,
            rng,
            ejections=outliers,
            balancing=balancing,
        )
        outliers.on_change = balancer.rotate
        breaker = Breaker(target, settings.circuit_breaker)
        subset = Subset(settings.subset_size, rng)
        throttle = CallerThrottle(target, config.channel.overload_ratio, clock, rng)
        self._unsubscribe = store.subscribe(target, self._configure)
        self._core = Core(
            target,
            clock,
            balancer,
            resolver,
            Pool(target, config, balancer, resolver, identity, settings.wanted(), subset, dict(options)),
            settings,
            budget,
            stack.client_layers(config, telemetry, layers),
            stack.attempt_layers(balancer, outliers, breaker, throttle, attempt_layers),
            breaker,
            secure=identity is not None,
        )

    async def start(self) -> None:
        """Begins to resolve and to connect; does not wait for it (see `channel_ready`).

        Raises:
            IdentityError: There is no certificate.
        """
        self._enter()

    def _hooks(self, kind: type[grpc.aio.ClientInterceptor]) -> list[Any]:
        return interceptor_hooks(self._interceptors, kind)

    def _enter(self) -> None:
        self._refuse_if_closed()
        if not self._started:
            forking.register(self)
            self._core.start()
            self._started = True

    def inherited(self, error: forking.ForkedProcessError) -> None:
        """This process is a forked child: refuse every use with this error."""
        self._inherited, self._core.open = error, False

    def _refuse_if_closed(self) -> None:
        if self._inherited is not None:
            raise self._inherited
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")

    async def close(self, grace: float | None = None) -> None:
        """Takes no more calls, lets those that run end within `grace` seconds, and disconnects."""
        if self._inherited is not None:
            raise self._inherited
        if self._closed:
            return
        self._closed = True
        self._unsubscribe()
        if self._started:
            try:
                await self._core.finish(grace or 0.0, "Channel is closed.")
            finally:
                await self._core.pool.close()

    def _configure(self, effective: Effective) -> None:
        """The settings have changed. Calls that run keep theirs."""
        core = self._core
        core.settings.take(effective)
        self._outliers.configure(core.settings.outlier_detection)
        core.breaker.config = core.settings.circuit_breaker
        core.balancer.configure(effective.config.load_balancing)
        core.follow()
        core.pool.resize(core.settings.subset_size)
        for spec in core.specs:
            spec.configure()

    def state(self) -> dict[str, Any]:
        """What the admin page shows; JSON-able."""
        core = self._core
        return {
            "target": self._target,
            "policy": core.balancer.policy_name,
            "resolver_error": core.resolver.error,
            "settings": core.settings.effective.origins,
            "zone": core.balancer.zones(),
            "subset": core.pool.subset.state(len(core.pool.resolved)),
            "ejected": self._outliers.state(),
            "waiting": len(core.pool.waiting),
            "retries": core.budget.retries,
            "retry_budget_exhausted": core.budget.exhausted,
            "endpoints": [
                e.to_dict() for e in (*core.balancer.endpoints.values(), *core.pool.draining.values())
            ],
        }

    def collect(self) -> Iterable[Metric]:
        """Metrics of this target: endpoints, picks, retries, DNS."""
        return metrics.collect(self._core)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """READY while any endpoint is."""
        if self._inherited is not None:
            raise self._inherited
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        state = self._core.connectivity(self._started)
        if try_to_connect:
            self._enter()
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Until the state is another. Raises UsageError where the channel is closed already."""
        self._refuse_if_closed()
        while self.get_state() is last_observed_state:
            await self._core.pool.changed()

    async def channel_ready(self) -> None:
        """Until an endpoint is ready: bound it with a timeout. Raises UsageError once it is closed."""
        self._enter()
        while not self._core.balancer.rotation:
            await self._core.pool.changed()
            self._refuse_if_closed()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    def unary_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> callables.UnaryUnary[Any, Any]:
        spec = self._spec(method, Kind.UNARY, request_serializer, response_deserializer)
        hooks = self._hooks(grpc.aio.UnaryUnaryClientInterceptor)
        return callables.UnaryUnary(self._core, spec, self._enter, hooks)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> callables.UnaryStream[Any, Any]:
        spec = self._spec(method, Kind.SERVER_STREAM, request_serializer, response_deserializer)
        hooks = self._hooks(grpc.aio.UnaryStreamClientInterceptor)
        return callables.UnaryStream(self._core, spec, self._enter, hooks)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> callables.StreamUnary[Any, Any]:
        spec = self._spec(method, Kind.CLIENT_STREAM, request_serializer, response_deserializer)
        hooks = self._hooks(grpc.aio.StreamUnaryClientInterceptor)
        return callables.StreamUnary(self._core, spec, self._enter, hooks)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> callables.StreamStream[Any, Any]:
        spec = self._spec(method, Kind.BIDI_STREAM, request_serializer, response_deserializer)
        hooks = self._hooks(grpc.aio.StreamStreamClientInterceptor)
        return callables.StreamStream(self._core, spec, self._enter, hooks)

    def _spec(self, path: str, kind: Kind, serializer: Serializer, deserializer: Deserializer) -> Spec:
        spec = Spec(self._core, Method.parse(path, kind), serializer, deserializer)
        self._core.specs.add(spec)
        self._core.calls_service(spec.method)
        return spec

    def __repr__(self) -> str:
        return f"<MeshChannel {self._target}: {self._core.balancer!r}>"
