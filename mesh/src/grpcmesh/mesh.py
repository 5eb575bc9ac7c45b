"""Mesh: one object per process, which gives channels, a server, telemetry and lifecycle."""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeVar

from grpcmesh.call import AttemptLayer, ClientLayer, ServerLayer
from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.member import Member
from grpcmesh.telemetry import Telemetry

if TYPE_CHECKING:
    import grpc

    from grpcmesh.auth import KeySource
    from grpcmesh.balancer import PolicyFactory
    from grpcmesh.identity import Certificates
    from grpcmesh.resolver import Resolver
    from grpcmesh.server_side import ServerSide
    from grpcmesh.service_config import ServiceConfig

#: Seconds that closing resources may take, in addition to the drain's grace.
RESOURCES_TIMEOUT = 5.0

_T = TypeVar("_T")


class Mesh:
    """The mesh in this process. An async context manager; one per process.

        async with Mesh.from_env("checkout") as mesh:
            products = ProductServiceStub(mesh.channel("product"))
            server = mesh.server()
            add_CheckoutServiceServicer_to_server(Checkout(products), server)
            await mesh.serve(server)

    A synchronous program needs only `sync_channel`, and `close` at its end, or `with Mesh...`.

    Args:
        config: Settings of the process.
        service_configs: gRPC service configs by target, from the application's code. A file and the
            environment override them.
        certificates: Returns the certificates of the process, in place of files. Called on a thread at each
            poll. If it raises, the last good ones stay.

    Raises:
        ConfigError: The settings ask for plaintext, and there are certificates.

    Raises, when it is entered:
        IdentityError: There is no usable certificate.
        ConfigError: The service config has mistakes. The error has a line for each.
        OSError: The admin port cannot be listened on.
        ForkedProcessError: The mesh was started in the parent of this process.
    """

    def __init__(
        self,
        config: MeshConfig,
        *,
        service_configs: "Mapping[str, ServiceConfig] | None" = None,
        certificates: "Callable[[], Certificates] | None" = None,
    ) -> None:
        if config.plaintext and certificates is not None:
            raise ConfigError(["MESH_PLAINTEXT: refused, because the program brings certificates: unset it"])
        identity = IdentityStore.of(config, serves=False, source=certificates)
        self._member = Member(config, identity=identity, service_configs=service_configs)
        self._side: ServerSide | None = None
        self._resources = contextlib.AsyncExitStack()
        self._stopping = asyncio.Event()

    @classmethod
    def from_env(
        cls,
        service: str,
        environ: Mapping[str, str] | None = None,
        *,
        service_configs: "Mapping[str, ServiceConfig] | None" = None,
        certificates: "Callable[[], Certificates] | None" = None,
    ) -> Self:
        """Return the mesh with the settings of the variables MESH_*.

        Args:
            service: Name of the workload, unless MESH_SERVICE is set.
            environ: Holds the variables. None: the process's environment.
            service_configs, certificates: See `Mesh`.

        Raises:
            ConfigError: A variable is wrong or unknown. The error has a line for each.
        """
        config = MeshConfig.from_env(os.environ if environ is None else environ, service=service)
        return cls(config, service_configs=service_configs, certificates=certificates)

    async def __aenter__(self) -> Self:
        await self._member.__aenter__()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        """Start the mesh in a thread, for synchronous programs. Raises what `async with` raises."""
        self._member.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """End a mesh that runs in a thread: channels, whose calls end with CANCELLED, and telemetry."""
        self._member.close()

    @property
    def config(self) -> MeshConfig:
        """Return the settings of the process."""
        return self._member.config

    @property
    def telemetry(self) -> Telemetry:
        """Return metrics, traces and logs, such as `telemetry.log.info("message", key=value)`."""
        return self._member.telemetry

    def channel(
        self,
        target: str,
        *,
        resolver: "Resolver | None" = None,
        options: Sequence[tuple[str, int | str]] = (),
        layers: Sequence[ClientLayer] = (),
        attempt_layers: Sequence[AttemptLayer] = (),
        interceptors: "Sequence[grpc.aio.ClientInterceptor]" = (),
        policy: "PolicyFactory | None" = None,
    ) -> "grpc.aio.Channel":
        """Return the channel to a service. There is one per target, which the mesh closes when it ends.

        Args:
            target: A target as in mesh/docs/targets.md, such as `product` or `dns:///product.shop:8443`.
            resolver: Finds the endpoints; by default as the target says.
            options: Channel arguments, such as `("grpc.max_receive_message_length", 8 << 20)`. They override
                those of the settings.
            layers: Layers of the call stack, outermost first. They run once per call.
            attempt_layers: Layers of the attempt stack, outermost first. They run once per attempt.
            interceptors: Client interceptors of grpc.aio, outermost first. They run once per call.
            policy: Makes the balancing policy, such as a subclass of `BalancerPolicy`. It replaces that of
                the settings.

        Raises:
            TargetError: The target is malformed.
            ValueError: The channel is open already, so that the other arguments would be ignored.
        """
        more = {
            "resolver": resolver,
            "options": options,
            "layers": layers,
            "attempt_layers": attempt_layers,
            "interceptors": interceptors,
            "policy": policy,
        }
        return self._member.channel(target, **{name: value for name, value in more.items() if value})

    def sync_channel(
        self,
        target: str,
        *,
        resolver: "Resolver | None" = None,
        options: Sequence[tuple[str, int | str]] = (),
        layers: Sequence[ClientLayer] = (),
        attempt_layers: Sequence[AttemptLayer] = (),
        policy: "PolicyFactory | None" = None,
    ) -> "grpc.Channel":
        """Return the synchronous channel to a service, for all threads. There is one per target.

        It needs no `async with`: its first call starts the mesh, in a thread, in the process that makes it.
        So it may be made before a server such as gunicorn forks its workers. See mesh/docs/sync.md.

        Args:
            target, resolver, options, layers, attempt_layers, policy: As for `channel`. Layers and the
                policy run under a lock, and must not block.

        Raises:
            TargetError: The target is malformed.
            ValueError: The channel is open already, so that the other arguments would be ignored.
        """
        more = {
            "resolver": resolver,
            "options": options,
            "layers": layers,
            "attempt_layers": attempt_layers,
            "policy": policy,
        }
        return self._member.sync_channel(target, **{name: value for name, value in more.items() if value})

    def server(
        self,
        *,
        layers: Sequence[ServerLayer] = (),
        interceptors: "Sequence[grpc.aio.ServerInterceptor]" = (),
        priorities: Mapping[str, str] | None = None,
        keys: "KeySource | None" = None,
    ) -> "grpc.aio.Server":
        """Return the server of this process, to which generated code adds servicers. Pass it to `serve`.

        Args:
            layers: Layers of the server stack, outermost first. They see only calls that are allowed.
            interceptors: Server interceptors of grpc.aio, outermost first. They run inside all layers.
            priorities: `critical`, `default` or `sheddable` by method, such as `shop.Orders/Create`. Settings
                override them.
            keys: Source of the keys that verify user tokens. Without it, every token is refused.

        Raises:
            RuntimeError: There is a server already.
            PolicyError: The policy file is wrong.
            IdentityError: The certificate is not good for a server.
            ConfigError: A priority is wrong, or PyJWT is not installed.
        """
        side = self._serving(layers, interceptors)
        if priorities:
            side.prioritize(priorities)
        if keys is not None:
            side.use_keys(keys)
        return side.server

    async def serve(
        self,
        server: "grpc.aio.Server | None" = None,
        *,
        signals: bool = True,
        capture_logging: bool = False,
        freeze: bool = False,
    ) -> None:
        """Serve until SIGTERM, SIGINT, `stop()` or the failure of a task of `spawn`; then drain.

        Args:
            server: The server that `server()` returned. None, for a process that serves no gRPC calls, opens
                the health port only.
            signals: Whether to stop at SIGTERM and SIGINT. A second signal ends the process at once. Only in
                the main thread.
            capture_logging: Whether to write the standard library's logging as the mesh's JSON lines.
            freeze: Whether to exclude what exists after the start from garbage collection while it serves.

        Raises:
            TypeError: The server is not that of this mesh.
            StartError: A port cannot be listened on.
            Exception: That of the first task of `spawn` that failed.
        """
        if server is None and self._side is None:
            self._serving((), ())
        if self._side is None or (server is not None and server is not self._side.server):
            raise TypeError("serve() takes the server that server() of the same mesh returned")
        from grpcmesh.lifecycle import signals_stop

        with signals_stop(self._stopping) if signals else contextlib.nullcontext():
            error = await self._live(_nothing, capture_logging, freeze)
        if error is not None:
            raise error

    def set_health(self, service: str, *, serving: bool) -> None:
        """Set the health of a service of the server, which callers watch (mesh/docs/health.md).

        Callers make no more calls of a service that is NOT_SERVING here, and use other replicas. What is set
        before `serve` holds from its start. From SIGTERM on, everything stays NOT_SERVING. Call it in the
        event loop's thread; from another one, use `loop.call_soon_threadsafe`.

        Args:
            service: Full name of a service that has been added to the server, such as `shop.Orders`; "" is
                the whole process, whose replica then gets no calls at all.
            serving: Whether it can serve.

        Raises:
            RuntimeError: There is no server.
            ValueError: The server has no such service.
        """
        if self._side is None:
            raise RuntimeError("the health of a service is that of a server: make one with server()")
        self._side.set_health(service, serving)

    def stop(self) -> None:
        """Make `serve` drain and return."""
        self._stopping.set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine in the background, at most until the mesh ends. If it fails, `serve` ends.

        It inherits neither deadline nor caller nor trace from the call that starts it.
        """
        return self._member.spawn(coroutine, name)

    async def enter(self, resource: contextlib.AbstractAsyncContextManager[_T]) -> _T:
        """Enter a resource. Resources are closed after the drain, in reverse order."""
        return await self._resources.enter_async_context(resource)

    async def aclose(self) -> None:
        """End: close the server without a drain if it still runs, resources, channels and telemetry."""
        try:
            if self._side is not None:
                await self._side.stop(drain=False)
            await self._close_resources()
        finally:
            await self._member.aclose()

    def _serving(
        self, layers: Sequence[ServerLayer], interceptors: "Sequence[grpc.aio.ServerInterceptor]"
    ) -> "ServerSide":
        from grpcmesh.server_side import ServerSide  # a process that is only a client needs none of it

        if self._side is not None:
            raise RuntimeError("a mesh has one server, which listens at the address of its settings")
        self._side = ServerSide(self._member, layers, interceptors)
        return self._side

    async def _live(
        self, build: Callable[[], Awaitable[None]], capture_logging: bool, freeze: bool
    ) -> BaseException | None:
        """Build, serve and drain. Return the error of the first task of `spawn` that failed."""
        from grpcmesh.lifecycle import live

        side = self._side
        assert side is not None
        if capture_logging:
            self.telemetry.capture_logging()

        async def start() -> None:
            await build()
            await side.start()

        async def stop(drain: bool) -> None:
            await side.stop(drain)
            await self._close_resources()

        return await live(self._member, start(), stop, self._stopping, side.server, freeze=freeze)

    async def _close_resources(self) -> None:
        try:
            async with asyncio.timeout(self.config.drain.grace + RESOURCES_TIMEOUT):
                await self._resources.aclose()
        except TimeoutError:
            self.telemetry.log.error("resources were not left in time")


async def _nothing() -> None:
    """Build nothing: whoever calls `serve` has built what it serves."""
