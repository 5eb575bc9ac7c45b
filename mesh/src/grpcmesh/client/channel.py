"""MeshChannel: a grpc.aio channel to a service, over all of its replicas. Stubs run on it unchanged.

The path of a call: call layers → retry → balancer → attempt layers → one native channel per replica. Both
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
from grpcmesh.balancer import PolicyFactory, Subset
from grpcmesh.breaker import Breaker
from grpcmesh.call import AttemptLayer, ClientLayer, Kind, Method
from grpcmesh.client import callables, metrics, stack
from grpcmesh.client.interceptors import hooks as interceptor_hooks
from grpcmesh.client.parts import Parts
from grpcmesh.client.settings import Settings
from grpcmesh.client.spec import Deserializer, Serializer, Spec
from grpcmesh.clock import Clock, Rng, monotonic, system_rng
from grpcmesh.config import MeshConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.outlier import Outliers
from grpcmesh.resolver import Resolver, resolver_of
from grpcmesh.retry import RetryBudget
from grpcmesh.service_config import Effective, ServiceConfigStore

if TYPE_CHECKING:
    from grpcmesh.telemetry import Telemetry


class MeshChannel(grpc.aio.Channel):
    """A `grpc.aio.Channel` to all replicas of one target.

    It starts with its first call at the latest, and belongs to the event loop that runs then.

    Args:
        target: A target as in mesh/docs/targets.md, such as `product` or `dns:///product.shop:8443`.
        config: Settings of the process.
        identity: Our certificates and the trust bundle. If None, connections are plaintext (for tests and
            benchmarks).
        resolver: Finds the endpoints; by default as the target says.
        options: Arguments of the native channels, such as `("grpc.max_receive_message_length", 8 << 20)`.
            They override those of the configuration.
        service_config: Settings of the target and its methods. Changes take effect while the channel runs.
        telemetry: Traces and measures calls. If None, calls are neither traced nor measured.
        layers: The application's own layers of the call stack, outermost first.
        attempt_layers: The application's own layers of the attempt stack, outermost first.
        interceptors: Client interceptors of grpc.aio, outermost first. They run once per logical call.
        policy: Makes the application's own balancing policy, such as the class of one. It replaces that of
            the settings.
        clock: Returns monotonic seconds; tests pass a virtual clock.
        rng: Draws jitter and picks; tests pass a seeded one.

    Raises:
        ValueError: One of `interceptors` is not a client interceptor of grpc.aio.
    """

    _parts = Parts()

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
        policy: PolicyFactory | None = None,
        clock: Clock = monotonic,
        rng: Rng | None = None,
    ) -> None:
        self._target = target
        self._started = self._closed = False
        self._inherited: forking.ForkedProcessError | None = None
        self._interceptors = interceptors
        interceptor_hooks(interceptors, grpc.aio.UnaryUnaryClientInterceptor)  # raises for anything else
        rng = rng or system_rng()
        wanted = config.target(target)
        resolver = resolver or resolver_of(config.resolver, wanted)
        budget, store = RetryBudget(config.retry), service_config or ServiceConfigStore()
        settings = Settings(config, store.effective(target), budget, clock, rng)
        outliers = Outliers(target, settings.outlier_detection, clock, rng)
        self._outliers = outliers
        balancing = settings.effective.config.load_balancing
        balancer = self._parts.balancer(
            replace(config.balancer, zone=config.preferred_zone),
            target,
            clock,
            rng,
            ejections=outliers,
            balancing=balancing,
            own=policy,
        )
        outliers.on_change = balancer.rotate
        breaker = Breaker(target, settings.circuit_breaker)
        subset = Subset(settings.subset_size, rng)
        throttle = CallerThrottle(target, config.channel.overload_ratio, clock, rng)
        self._unsubscribe = store.subscribe(target, self._configure)
        self._grpc_metrics = telemetry.grpc_metrics if telemetry else None
        measuring = self._grpc_metrics.client(wanted.uri) if self._grpc_metrics else None
        self._core = self._parts.core(
            target,
            clock,
            balancer,
            resolver,
            self._parts.pool(
                target, config, balancer, resolver, identity, settings.wanted(), subset, dict(options)
            ),
            settings,
            budget,
            stack.client_layers(config, telemetry, layers, measuring[:1] if measuring else ()),
            stack.attempt_layers(
                balancer, outliers, breaker, throttle, attempt_layers, measuring[1:] if measuring else ()
            ),
            breaker,
            secure=identity is not None,
        )

    async def start(self) -> None:
        """Begin to resolve and to connect, without waiting for either (see `channel_ready`).

        Raises:
            IdentityError: There is no certificate.
            UsageError: The channel is closed.
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
        """Handle a fork: in the child process, every use of the channel raises this error."""
        self._inherited, self._core.open = error, False

    def _refuse_if_closed(self) -> None:
        if self._inherited is not None:
            raise self._inherited
        if self._closed:
            raise grpc.aio.UsageError("Channel is closed.")

    async def close(self, grace: float | None = None) -> None:
        """Refuse new calls, let running calls end within `grace` seconds, then cancel them and disconnect.

        Idempotent. `grace`: seconds; None is the same as 0.
        """
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
        """Apply changed settings. Calls under way keep the settings that they began with."""
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
        """Return the state that the admin page shows, as values that JSON can encode."""
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
        """Return the metrics of this target: endpoints, picks, retries, DNS."""
        return metrics.collect(self._core)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """Return the connectivity of the channel: READY while any endpoint is ready."""
        if self._inherited is not None:
            raise self._inherited
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        state = self._core.connectivity(self._started)
        if try_to_connect:
            self._enter()
        return state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state differs from the given one. Raises UsageError if the channel is closed."""
        self._refuse_if_closed()
        while self.get_state() is last_observed_state:
            await self._core.pool.changed()

    async def channel_ready(self) -> None:
        """Wait until an endpoint is ready, however long that takes: give it a timeout.

        Raises:
            UsageError: The channel is closed, or was closed meanwhile.
        """
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
        spec = self._spec(method, Kind.UNARY, request_serializer, response_deserializer, _registered_method)
        hooks = self._hooks(grpc.aio.UnaryUnaryClientInterceptor)
        return callables.UnaryUnary(self._core, spec, self._enter, hooks)

    def unary_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> callables.UnaryStream[Any, Any]:
        spec = self._spec(
            method, Kind.SERVER_STREAM, request_serializer, response_deserializer, _registered_method
        )
        hooks = self._hooks(grpc.aio.UnaryStreamClientInterceptor)
        return callables.UnaryStream(self._core, spec, self._enter, hooks)

    def stream_unary(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> callables.StreamUnary[Any, Any]:
        spec = self._spec(
            method, Kind.CLIENT_STREAM, request_serializer, response_deserializer, _registered_method
        )
        hooks = self._hooks(grpc.aio.StreamUnaryClientInterceptor)
        return callables.StreamUnary(self._core, spec, self._enter, hooks)

    def stream_stream(
        self,
        method: str,
        request_serializer: Serializer = None,
        response_deserializer: Deserializer = None,
        _registered_method: bool | None = False,
    ) -> callables.StreamStream[Any, Any]:
        spec = self._spec(
            method, Kind.BIDI_STREAM, request_serializer, response_deserializer, _registered_method
        )
        hooks = self._hooks(grpc.aio.StreamStreamClientInterceptor)
        return callables.StreamStream(self._core, spec, self._enter, hooks)

    def _spec(
        self,
        path: str,
        kind: Kind,
        serializer: Serializer,
        deserializer: Deserializer,
        generated: bool | None,
    ) -> Spec:
        spec = self._parts.spec(self._core, Method.parse(path, kind), serializer, deserializer)
        self.add(spec, generated)
        return spec

    def add(self, spec: Spec, generated: bool | None) -> None:
        """Note that a multi-callable uses this spec. `generated`: whether a stub has made it."""
        if generated and self._grpc_metrics is not None:
            self._grpc_metrics.calls(spec.method)
        self._core.specs.add(spec)
        self._core.calls_service(spec.method)

    def __repr__(self) -> str:
        return f"<MeshChannel {self._target}: {self._core.balancer!r}>"
