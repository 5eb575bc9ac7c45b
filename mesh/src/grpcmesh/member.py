"""A process's membership in the mesh: identity, telemetry, channels and background tasks."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Self

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from grpcmesh import forking, grpc_environment
from grpcmesh import settings as in_force
from grpcmesh.config import AdminConfig, MeshConfig
from grpcmesh.extras import missing
from grpcmesh.forking import ForkedProcessError
from grpcmesh.identity import IdentityStore
from grpcmesh.identity.plaintext import WARNING, Plaintext, refuse_beside_certificates
from grpcmesh.service_config import ServiceConfig, ServiceConfigStore
from grpcmesh.target import TargetError
from grpcmesh.tasks import Tasks
from grpcmesh.telemetry import Telemetry

if TYPE_CHECKING:
    from grpcmesh.client.channel import MeshChannel
    from grpcmesh.client.sync.channel import SyncChannel
    from grpcmesh.client.sync.host import Host
    from grpcmesh.http import HttpServer

#: Seconds that calls under way on a channel have to end when the membership ends.
CHANNEL_GRACE = 1.0
#: Seconds for which the start waits for the SPIFFE Workload API: a new entry takes some to reach the agent.
FIRST_IDENTITY_TIMEOUT = 30.0


class _Certificate:
    """The metric of the certificate in use, which shows whether a renewed one has been loaded."""

    def __init__(self, identity: IdentityStore) -> None:
        self._identity = identity

    def collect(self) -> Iterable[Metric]:
        current = self._identity.current
        family = GaugeMetricFamily(
            "mesh_certificate_info", "1 for the certificate in use.", labels=["serial", "workload"]
        )
        family.add_metric([f"{current.serial:x}", str(current.workload)], 1)
        yield family


class Member:
    """The membership of a process in the mesh. An async context manager.

    It is all that a process needs that is only a client.

    Args:
        config: Settings of the process.
        sockets: Whether to open the admin port.
        identity: The identity. If None, one from `config.identity`, for a process that is only a client.
        telemetry: The telemetry. If None, a new one.
        service_configs: Service configs by target, from the application's code.
    """

    def __init__(
        self,
        config: MeshConfig,
        *,
        sockets: bool = True,
        identity: IdentityStore | None = None,
        telemetry: Telemetry | None = None,
        service_configs: Mapping[str, ServiceConfig] | None = None,
    ) -> None:
        self.config = config
        #: Our certificates. None: connections are plaintext.
        self.identity = None if config.plaintext else identity or IdentityStore.of(config, serves=False)
        settings = config.service_config
        #: The service configs of all targets.
        self.service_config = ServiceConfigStore(
            settings.file, settings.inline, service_configs, settings.poll_interval
        )
        self.telemetry = telemetry or Telemetry(config)
        self.tasks = Tasks()
        self._inherited: ForkedProcessError | None = None
        self.admin: HttpServer | None = None
        #: Functions that return further state for the admin page, by key.
        self.states: dict[str, Callable[[], Any]] = {}
        self._sockets = sockets and bool(config.admin.address)
        self._channels: dict[str, MeshChannel] = {}
        self._sync_channels: dict[str, SyncChannel] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: int | None = None
        self._host: Host | None = None
        #: The lock of all synchronous channels, which use the same layers.
        self._lock = threading.RLock()

    async def __aenter__(self) -> Self:
        """Load the identity, and start background tasks and the admin port.

        Raises:
            IdentityError: There is no usable certificate.
            ConfigError: The service config has mistakes, with a line for each. Or the settings ask for
                plaintext, and there are certificates.
            OSError: The admin port cannot be listened on, and its address is not the default.
            ForkedProcessError: The mesh was started in the parent of this process.
        """
        self._loop, self._loop_thread = asyncio.get_running_loop(), threading.get_ident()
        if self._host is not None:
            self._host.adopt(self._loop, self._loop_thread)
        return await self._enter()

    async def _enter(self) -> Self:
        forking.register(self)
        if self.identity is None:
            refuse_beside_certificates(self.config)
            self.telemetry.log.log("WARNING", WARNING, {"set": "MESH_PLAINTEXT"})  # whatever the log's level
        else:
            if self.identity.workload_api is not None:
                await self.identity.workload_api.first(FIRST_IDENTITY_TIMEOUT)
            self.identity.load()
        self.service_config.load()
        try:
            await self._start()
        except BaseException:
            await self.aclose()
            raise
        return self

    def inherited(self, error: ForkedProcessError) -> None:
        """Handle a fork: in the child process, every use of the membership raises this error."""
        self._inherited = error

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()

    def channel(self, target: str, **more: Any) -> "MeshChannel":
        """Return the channel to a service, such as `product`. There is one per target.

        It is opened when it is first asked for, and closed when the membership ends.

        Args:
            target: See `MeshChannel`.
            more: `options`, `layers`, `attempt_layers` and `interceptors` of `MeshChannel`. Only allowed when
                the channel is first asked for.

        Raises:
            ValueError: The channel is open already, and `more` is not empty.
        """
        if self._inherited is not None:
            raise self._inherited
        if target in self._channels and more:
            raise ValueError(f"the channel to {target} is open already: {', '.join(more)} would be ignored")
        if target not in self._channels:
            self._channels[target] = self._open(target, more)
        return self._channels[target]

    def sync_channel(self, target: str, **more: Any) -> "SyncChannel":
        """Return the synchronous channel to a service. There is one per target, for all threads.

        The membership starts with its first call at the latest: on a loop in a thread, unless it has been
        entered. It may be made before a fork, and started in the children.

        Args:
            target: See `MeshChannel`.
            more: `options`, `layers` and `attempt_layers`, as for `channel`.

        Raises:
            ValueError: The channel is open already, and `more` is not empty.
        """
        if self._inherited is not None:
            raise self._inherited
        with self._lock:
            if target in self._sync_channels and more:
                raise ValueError(
                    f"the channel to {target} is open already: {', '.join(more)} would be ignored"
                )
            if target not in self._sync_channels:
                self._sync_channels[target] = self._open_sync(target, more)
            return self._sync_channels[target]

    def start(self) -> None:
        """Start the membership on a loop in a thread. Idempotent. Errors are those of `async with`."""
        self._threads().start()

    def close(self) -> None:
        """End a membership that runs on a loop in a thread. Idempotent."""
        if self._host is not None:
            self._host.stop()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str | None = None) -> asyncio.Task[Any]:
        """Run a coroutine in the background, at most until the membership ends."""
        if self._inherited is not None:
            coroutine.close()
            raise self._inherited
        return self.tasks.spawn(coroutine, name)

    async def aclose(self) -> None:
        """End the membership: tasks, channels, admin port and telemetry, in this order."""
        await self.tasks.aclose()
        channels, self._channels = list(self._channels.values()), {}
        threads, self._sync_channels = list(self._sync_channels.values()), {}
        await asyncio.gather(
            *(channel.close(CHANNEL_GRACE) for channel in channels),
            *(channel.aclose(CHANNEL_GRACE) for channel in threads),
        )
        if self.admin is not None:
            await self.admin.aclose()
        await self.telemetry.aclose()

    def state(self) -> Mapping[str, Any]:
        """Return the state that the admin page shows, as values that JSON can encode."""
        return {
            "service": self.config.service,
            "replica": self.config.replica,
            "certificate": self._certificate(),
            "service_config_problems": list(self.service_config.problems),
            "targets": [
                *(channel.state() for channel in self._channels.values()),
                *(channel.state() for channel in self._sync_channels.values()),
            ],
            **{key: read() for key, read in self.states.items()},
        }

    def settings(self) -> Mapping[str, Sequence[Mapping[str, str]]]:
        """Return the settings in force: of the process under the empty name, of each target under its own."""
        found = {"": in_force.settings(self.config)}
        for target in {*self._channels, *self._sync_channels}:
            with suppress(TargetError):
                found[target] = list(in_force.of_target(self.config, self.service_config, target))
        return {name: [asdict(setting) for setting in some] for name, some in found.items()}

    def _certificate(self) -> Mapping[str, Any]:
        if self.identity is None:
            return {}  # the page says that this process speaks plaintext
        return self.identity.state() | {"tls_1_3_only": grpc_environment.tls13_only}

    async def _start(self) -> None:
        await self.telemetry.start()
        for source in (self.tasks, self.service_config, Plaintext(self.config.plaintext)):
            self.telemetry.add(source)
        if self.identity is not None:
            self.telemetry.add(self.identity)
            self.telemetry.add(_Certificate(self.identity))
            self.tasks.supervise(self.identity.watch, "identity")
            if self.identity.workload_api is not None:
                self.tasks.supervise(self.identity.workload_api.watch, "workload api")
        self.tasks.supervise(self.service_config.watch, "service config")
        if self._sockets:
            self.admin = self._admin_server()
            if self.admin is not None:
                await self._open_admin(self.admin)

    async def _open_admin(self, admin: "HttpServer") -> None:
        try:
            await admin.start()
        except OSError as e:
            if self.config.admin.address != AdminConfig.address:
                raise
            # Several programs of the mesh on one machine, and nobody has asked for this address.
            self.telemetry.log.warning("the admin port is not opened; set MESH_ADMIN_ADDRESS", reason=str(e))
            self.admin = None

    def _admin_server(self) -> "HttpServer | None":
        try:
            from grpcmesh.admin import AdminServer
        except ModuleNotFoundError as e:
            self.telemetry.log.warning(missing("the admin port is not opened", "admin", e))
            return None
        return AdminServer(self.config.admin, self.telemetry.registry, self.state, self.settings)

    def _open(self, target: str, more: Mapping[str, Any]) -> "MeshChannel":
        from grpcmesh.client.channel import MeshChannel  # a process without channels needs no resolver

        channel = MeshChannel(
            target,
            self.config,
            identity=self.identity,
            service_config=self.service_config,
            telemetry=self.telemetry,
            **more,
        )
        self.telemetry.add(channel)
        self.spawn(channel.start(), f"channel {target}")
        return channel

    def _open_sync(self, target: str, more: Mapping[str, Any]) -> "SyncChannel":
        from grpcmesh.client.sync.channel import SyncChannel

        channel = SyncChannel(
            target,
            self.config,
            host=self._threads(),
            lock=self._lock,
            identity=self.identity,
            service_config=self.service_config,
            telemetry=self.telemetry,
            **more,
        )
        self.telemetry.add(channel)
        return channel

    def _threads(self) -> "Host":
        """Return the host of the synchronous channels."""
        from grpcmesh.client.sync.host import Host

        if self._host is None:
            self._host = Host(self._loop, self._enter, self.aclose, self._loop_thread)
        return self._host
