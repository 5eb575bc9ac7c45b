"""Runs a service: `run("product", build)`."""

import asyncio
import contextlib
import dataclasses
import gc
import importlib
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from grpcmesh import grpc_environment  # before anything imports grpc

# isort: split
from grpcmesh.authz import PolicyError, PolicyStore
from grpcmesh.call import ServerLayer, Workload
from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.errors import MeshError
from grpcmesh.extras import missing
from grpcmesh.forking import ForkedProcessError
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityError, IdentityStore
from grpcmesh.member import Member
from grpcmesh.server.options import raise_file_limit
from grpcmesh.server.ports import HealthPort, StartError
from grpcmesh.server.server import MeshServer, server_layers

if TYPE_CHECKING:
    import grpc

    from grpcmesh.auth import KeySource, TokenVerifier
    from grpcmesh.client.channel import MeshChannel

_OLD_TLS = "TLS below 1.3 is refused at calls, not in handshakes: gRPC was imported without the setting"
#: Exit status for a bad configuration, and for any other failure.
EX_CONFIG, EX_FAILED = 2, 1
#: Seconds for which the start waits for the keys that verify tokens. Then it continues without them.
KEYS_TIMEOUT = 5.0
#: Seconds that closing resources may take, in addition to the drain's grace.
RESOURCES_TIMEOUT = 5.0

_T = TypeVar("_T")
#: Exceptions that are reported as one line, without a stack.
_TOLD = (ConfigError, IdentityError, PolicyError, StartError, MeshError, ForkedProcessError, OSError)
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class App:
    """A service that its `build` function sets up: servicers on `server`, channels, tasks, resources.

    Args:
        member: The process's membership, which has been entered.
        policy: The authorization policy, which has been loaded.
    """

    def __init__(self, member: Member, policy: PolicyStore) -> None:
        self.member, self.policy = member, policy
        self.config, self.telemetry = member.config, member.telemetry
        health = self.config.health
        self.health = HealthServicer(health.max_watchers, health.max_watchers_per_peer, self.config.zone)
        self._no_tokens: ModuleNotFoundError | None = None
        self.verifier = self._token_verifier()
        self.server = MeshServer(
            self.config,
            identity=member.identity,
            layers=(),  # known when `build` is done
            health=self.health,
        )
        self._own_layers: list[ServerLayer] = []
        self._admission = self.config.admission
        self._resources = contextlib.AsyncExitStack()
        self._health_port = HealthPort(self.config.health, self.health)

    def channel(self, target: str, **more: Any) -> "MeshChannel":
        """Return the channel to another service, such as `product`. See `Member.channel`."""
        return self.member.channel(target, **more)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine in the background. If it fails, the process drains and exits with 1."""
        return self.member.spawn(coroutine, name)

    async def enter(self, resource: contextlib.AbstractAsyncContextManager[_T]) -> _T:
        """Enter a resource. Resources are closed after the drain, in reverse order."""
        return await self._resources.enter_async_context(resource)

    def add_layer(self, layer: ServerLayer) -> None:
        """Add a layer to the server's stack, inside authorization, so that it only sees allowed calls."""
        self._own_layers.append(layer)

    def add_interceptor(self, interceptor: "grpc.aio.ServerInterceptor") -> None:
        """Add a server interceptor of grpc.aio. It runs inside all layers; the first added is outermost."""
        self.server.interceptors.append(interceptor)

    def prioritize(self, priorities: Mapping[str, str]) -> None:
        """Set the priorities of methods for admission (mesh/docs/admission.md).

        Priorities in the settings override these. Methods that this process does not serve are ignored, so
        one table can be used for several services.

        Args:
            priorities: `critical`, `default` or `sheddable` by method, such as `shop.Orders/Create`.

        Raises:
            ConfigError: A priority is none of these.
        """
        admission = self.config.admission
        merged = {**priorities, **admission.priorities}
        self._admission = dataclasses.replace(admission, priorities=merged)

    def use_keys(self, source: "KeySource") -> None:
        """Set the source of the keys that verify user tokens. Without it, every token is refused.

        Raises:
            ConfigError: PyJWT is not installed.
        """
        if self.verifier is None:
            assert self._no_tokens is not None
            raise ConfigError([missing("tokens of users cannot be verified", "jwt", self._no_tokens)])
        self.verifier.source = source

    def _token_verifier(self) -> "TokenVerifier | None":
        try:
            from grpcmesh.auth.verifier import TokenVerifier
        except ModuleNotFoundError as e:
            self._no_tokens = e
            return None
        identity = self.config.identity
        own = Workload(identity.trust_domain, self.config.namespace, self.config.service)
        return TokenVerifier(self.config.auth, own=str(own))

    async def start(self) -> None:
        """Fetch the keys, listen, and report SERVING.

        Raises:
            StartError: A port cannot be listened on.
        """
        config = dataclasses.replace(self.config, admission=self._admission)
        self.server.layers = server_layers(
            config, self.telemetry, self.policy, self.verifier, self.member.identity, self._own_layers
        )
        for source in (self.policy, self.server, self._health_port):
            self.telemetry.add(source)
        self.telemetry.metrics_server.declare(self.server.methods())
        self.member.tasks.supervise(self.policy.watch, "policy")
        if self.verifier is not None:
            self.telemetry.add(self.verifier)
        if self.verifier is not None and self.verifier.source is not None:
            await self.verifier.start(KEYS_TIMEOUT)
            self.member.tasks.supervise(self.verifier.watch, "keys")
        if self.server.services:
            await self.server.start()
            self.spawn(self.server.accept_loop_ended(), "accept loop of the mesh port")
        await self._health_port.start()
        self.spawn(self._health_port.accept_loop_ended(), "accept loop of the health port")
        self.health.set_all(True)

    async def stop(self, drain: bool = True) -> None:
        """Stop the service: drain if `drain`, close the ports, then close the resources in reverse order."""
        if drain:
            await self.server.drain()
        await self.server.stop(0)
        await self._health_port.stop()
        try:
            async with asyncio.timeout(self.config.drain.grace + RESOURCES_TIMEOUT):
                await self._resources.aclose()
        except TimeoutError:
            self.telemetry.log.error("resources were not left in time")

    def state(self) -> Mapping[str, Any]:
        """Return the server's state for the admin page."""
        return {
            "health": self.health.statuses(),
            "draining": self.server.draining,
            "policy_generation": self.policy.generation,
            **self.server.state(),
        }


Build = Callable[[App], Awaitable[None]]


def run(service: str, build: Build, environ: Mapping[str, str] | None = None) -> NoReturn:
    """Run a service until SIGTERM or SIGINT, and exit: 0 after a drain, 2 for a bad configuration, else 1.

    Args:
        service: Name of the workload, unless MESH_SERVICE is set.
        build: Sets up the service. The service becomes ready after it has returned.
        environ: Holds the variables MESH_*. None: the process's environment.
    """
    try:
        config = MeshConfig.from_env(os.environ if environ is None else environ, service=service)
    except ConfigError as e:
        sys.exit(_misconfigured(service, e))
    problem = grpc_environment.restart_if_too_late(os.environ)
    if problem:
        sys.exit(_misconfigured(service, ConfigError([problem])))
    raise_file_limit()
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(serve(config, build))
    sys.exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of uvloop, which is faster, or of asyncio if uvloop is not installed."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)


async def serve(config: MeshConfig, build: Build) -> int:
    """Run a service until it has to stop. Return the exit status.

    Args:
        config: Settings of the process.
        build: See `run`.
    """
    stopping = _stop_on_signals()
    try:
        policy = PolicyStore(config.authz)
        policy.load()
        async with Member(config, identity=IdentityStore.of(config, serves=True)) as member:
            return await _guarded(member, policy, build, stopping)
    except ConfigError as e:  # of the service's own settings
        return _misconfigured(config.service, e)
    except _TOLD as e:
        print(f"{config.service}: {getattr(e, 'strerror', None) or e}", file=sys.stderr)  # noqa: T201
        return EX_FAILED


def _misconfigured(service: str, error: ConfigError) -> int:
    for problem in error.problems:
        print(f"{service}: {problem}", file=sys.stderr)  # noqa: T201 - there is no logger yet
    return EX_CONFIG


async def _guarded(member: Member, policy: PolicyStore, build: Build, stopping: asyncio.Event) -> int:
    try:
        return await _live(member, policy, build, stopping)
    except _TOLD:
        raise
    except Exception as e:
        # Goes no further: its frames would keep grpc's server alive until after the loop has closed, and
        # the process would hang.
        member.telemetry.log.error("the service failed", error=e)
        return EX_FAILED


async def _live(member: Member, policy: PolicyStore, build: Build, stopping: asyncio.Event) -> int:
    log = member.telemetry.log
    member.telemetry.capture_logging()
    app = App(member, policy)
    member.states["server"] = app.state
    ready = False
    try:
        ready = await _until(stopping, member, _start(app, build))
        if ready:
            log.info("ready", port=app.server.port)
            if not grpc_environment.tls13_only:
                log.warning(_OLD_TLS, set=f"{grpc_environment.CIPHER_SUITES}={grpc_environment.TLS13_ONLY}")
            with started_for_good():
                await _until(stopping, member, asyncio.Event().wait())
            log.info("draining")
    finally:
        await app.stop(drain=ready)
    log.info("stopped")
    return EX_FAILED if member.tasks.error else 0


@contextlib.contextmanager
def started_for_good() -> Iterator[None]:
    """Exclude the objects that exist now from garbage collection, while the context lasts.

    After the start, these are some 80,000 objects, and a full collection of them delayed all calls for about
    50 ms (measured on a busy machine). Afterwards they are collected as usual, because grpc's server might
    outlive its event loop otherwise.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def _start(app: App, build: Build) -> None:
    await build(app)
    await app.start()


async def _until(stopping: asyncio.Event, member: Member, work: Coroutine[Any, Any, Any]) -> bool:
    """Run `work` until it is done, or until the process has to stop. Return whether it is done.

    Raises the exception of `work`, if any.
    """
    tasks = [asyncio.create_task(c) for c in (work, stopping.wait(), member.tasks.failed())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


def _stop_on_signals() -> asyncio.Event:
    """Return an event that the first SIGTERM or SIGINT sets. The second one ends the process at once."""
    stopping = asyncio.Event()

    def received(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, received, number)
    return stopping
