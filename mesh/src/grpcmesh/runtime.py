"""Runs a service: `run("product", build)`."""

import asyncio
import contextlib
import importlib
import os
import sys
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from grpcmesh import grpc_environment  # before anything imports grpc

# isort: split
from grpcmesh.authz import PolicyError
from grpcmesh.call import ServerLayer
from grpcmesh.config import ConfigError, MeshConfig
from grpcmesh.errors import MeshError
from grpcmesh.forking import ForkedProcessError
from grpcmesh.identity import IdentityError
from grpcmesh.lifecycle import signals_stop
from grpcmesh.mesh import Mesh
from grpcmesh.server.options import raise_file_limit
from grpcmesh.server.ports import StartError

if TYPE_CHECKING:
    import grpc

    from grpcmesh.auth import KeySource

#: Exit status for a bad configuration, and for any other failure.
EX_CONFIG, EX_FAILED = 2, 1

_T = TypeVar("_T")
#: Exceptions that are reported as one line, without a stack.
_TOLD = (ConfigError, IdentityError, PolicyError, StartError, MeshError, ForkedProcessError, OSError)


class App:
    """A service that its `build` function sets up: servicers on `server`, channels, tasks, resources.

    Args:
        mesh: The mesh, which has been entered and has no server yet.
    """

    def __init__(self, mesh: Mesh) -> None:
        self.mesh, self._side = mesh, mesh._serving((), ())
        self.config, self.telemetry = mesh.config, mesh.telemetry
        self.server, self.health = self._side.server, self._side.health

    def channel(self, target: str, **more: Any) -> "grpc.aio.Channel":
        """Return the channel to another service, such as `product`. See `Mesh.channel`."""
        return self.mesh.channel(target, **more)

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine in the background. If it fails, the process drains and exits with 1."""
        return self.mesh.spawn(coroutine, name)

    async def enter(self, resource: contextlib.AbstractAsyncContextManager[_T]) -> _T:
        """Enter a resource. Resources are closed after the drain, in reverse order."""
        return await self.mesh.enter(resource)

    def add_layer(self, layer: ServerLayer) -> None:
        """Add a layer to the server's stack, inside authorization, so that it only sees allowed calls."""
        self._side.layers.append(layer)

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
        self._side.prioritize(priorities)

    def set_health(self, service: str, *, serving: bool) -> None:
        """Set the health of a service, which callers watch. See `Mesh.set_health`."""
        self.mesh.set_health(service, serving=serving)

    def use_keys(self, source: "KeySource") -> None:
        """Set the source of the keys that verify user tokens. Without it, every token is refused.

        Raises:
            ConfigError: PyJWT is not installed, or MESH_AUTH_ISSUER or MESH_AUTH_AUDIENCE is not set.
        """
        self._side.use_keys(source)


Build = Callable[[App], Awaitable[None]]


def run(
    service: str,
    build: Build,
    environ: Mapping[str, str] | None = None,
    *,
    signals: bool = True,
    uvloop: bool = True,
    capture_logging: bool = True,
    freeze: bool = True,
) -> NoReturn:
    """Run a service until SIGTERM or SIGINT, and exit: 0 after a drain, 2 for a bad configuration, else 1.

    Args:
        service: Name of the workload, unless MESH_SERVICE is set.
        build: Sets up the service. The service becomes ready after it has returned.
        environ: Holds the variables MESH_*. None: the process's environment.
        signals: Whether to stop at SIGTERM and SIGINT. If not, they have their default effect.
        uvloop: Whether to use uvloop, which is faster, if it is installed.
        capture_logging: Whether to write the standard library's logging as the mesh's JSON lines.
        freeze: Whether to exclude what exists after the start from garbage collection while it serves.
    """
    try:
        config = MeshConfig.from_env(os.environ if environ is None else environ, service=service)
    except ConfigError as e:
        sys.exit(_misconfigured(service, e))
    problem = grpc_environment.restart_if_too_late(os.environ)
    if problem:
        sys.exit(_misconfigured(service, ConfigError([problem])))
    raise_file_limit()
    with asyncio.Runner(loop_factory=_loop_factory() if uvloop else asyncio.new_event_loop) as runner:
        code = runner.run(serve(config, build, signals, capture_logging, freeze))
    sys.exit(code)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """Return the factory of uvloop, which is faster, or of asyncio if uvloop is not installed."""
    try:
        uvloop = importlib.import_module("uvloop")
    except ModuleNotFoundError:
        return asyncio.new_event_loop
    return cast(Callable[[], asyncio.AbstractEventLoop], uvloop.new_event_loop)


async def serve(
    config: MeshConfig,
    build: Build,
    signals: bool = True,
    capture_logging: bool = True,
    freeze: bool = True,
) -> int:
    """Run a service until it has to stop. Return the exit status. See `run`."""
    try:
        mesh = Mesh(config)
        with signals_stop(mesh._stopping) if signals else contextlib.nullcontext():
            async with mesh:
                return await _guarded(mesh, build, capture_logging, freeze)
    except ConfigError as e:  # of the service's own settings, or a contradiction of settings and files
        return _misconfigured(config.service, e)
    except _TOLD as e:
        print(f"{config.service}: {e}", file=sys.stderr)  # noqa: T201
        return EX_FAILED


def _misconfigured(service: str, error: ConfigError) -> int:
    for problem in error.problems:
        print(f"{service}: {problem}", file=sys.stderr)  # noqa: T201 - there is no logger yet
    return EX_CONFIG


async def _guarded(mesh: Mesh, build: Build, capture_logging: bool, freeze: bool) -> int:
    app = App(mesh)
    try:
        error = await mesh._live(lambda: build(app), capture_logging, freeze)
    except _TOLD:
        raise
    except Exception as e:
        # Goes no further: its frames would keep grpc's server alive until after the loop has closed, and
        # the process would hang.
        mesh.telemetry.log.error("the service failed", error=e)
        return EX_FAILED
    return EX_FAILED if error else 0
