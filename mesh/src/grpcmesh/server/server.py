"""MeshServer: a grpc.aio server whose calls run through the stack of layers."""

import asyncio
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh import forking
from grpcmesh.admission import AdmissionLayer
from grpcmesh.auth import UserLayer
from grpcmesh.authz import AuthzLayer, PolicyStore
from grpcmesh.balancer import LoadReporter
from grpcmesh.call import Method, Purpose, ServerCall, ServerLayer
from grpcmesh.clock import monotonic, system_rng
from grpcmesh.config import MeshConfig
from grpcmesh.errors import MeshError
from grpcmesh.fault import FaultLayer, Faults
from grpcmesh.forking import ForkedProcessError
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.hooks import HookErrors
from grpcmesh.identity import IdentityLayer, IdentityStore
from grpcmesh.server import connections, introspection
from grpcmesh.server.accept import Accepting
from grpcmesh.server.connections import MeshConnections
from grpcmesh.server.guard import ConnectionGuard, WastedCalls
from grpcmesh.server.handlers import Handlers
from grpcmesh.server.options import file_limit, mesh_port, message_bytes
from grpcmesh.server.ports import listen
from grpcmesh.server.probe import PATH, QueueProbe, loopback
from grpcmesh.server.stack import Stack
from grpcmesh.server.streams import Running, leaving
from grpcmesh.server.threads import Threads
from grpcmesh.serving import QueueWatcher
from grpcmesh.tasks import Tasks
from grpcmesh.watchers import WatcherBudget

if TYPE_CHECKING:
    from grpcmesh.auth import TokenVerifier
    from grpcmesh.telemetry import Telemetry

#: Seconds that calls have to end after the grace, before grpc cancels them.
_LAST_WORD = 1.0
#: Seconds between two looks for calls to end meanwhile.
_CUT_AGAIN = 0.02


def server_layers(
    config: MeshConfig,
    telemetry: "Telemetry",
    policy: PolicyStore,
    verifier: "TokenVerifier | None",
    identity: IdentityStore | None = None,
    own: Sequence[ServerLayer] = (),
) -> list[ServerLayer]:
    """Return the stack, outermost first. Each layer declares the calls that it applies to.

    Errors are mapped inside all layers, in `grpcmesh.server.stack`. Interceptors run inside all layers, too.

    Args:
        config: Settings of the process. In plaintext mode, callers are not identified or authorized.
        telemetry: Its layers trace, measure and log calls.
        policy: Holds the authorization policy.
        verifier: Verifies user tokens. If None, every token is refused.
        identity: Our certificates. If None, connections are plaintext.
        own: Layers of the application.
    """
    domain, namespace = config.identity.trust_domain, config.namespace
    # In plaintext mode, which is for development, nobody is asked for a token unless a policy says so.
    has_users = not config.plaintext or config.authz.policy_file is not None
    layers: list[ServerLayer | None] = [
        telemetry.trace_server,  # first, so that all that follows has a trace to belong to
        telemetry.metrics_server,  # before anything can refuse: a refused call counts
        telemetry.grpc_metrics.server if telemetry.grpc_metrics else None,  # the same, by gRPC's own names
        telemetry.access_log,  # the same; written at the end, when the layers below know who called
        _load_reporter(config)
        if config.telemetry.load_report_interval
        else None,  # what callers balance by: refusals are load, too
        WastedCalls(config.server.wasted_calls, config.server.wasted_calls_burst)  # closes connections of
        if config.server.wasted_calls  # peers whose calls come to nothing: when all below have refused them
        else None,
        None if config.plaintext else IdentityLayer(domain, identity),  # who is it, by its certificate
        None if config.plaintext else AuthzLayer(policy, domain, namespace),  # may it call this method
        AdmissionLayer(config.admission, message_bytes(config.server))
        if config.admission.enabled
        else None,  # is there room for it: before what costs more than to refuse it
        UserLayer(verifier, policy.user_rule) if has_users else None,  # and on whose behalf
        *own,  # the application's own: they see only calls that are allowed
        FaultLayer(Faults(monotonic, system_rng())) if config.fault.enabled else None,  # last: breaks only
        # what would have been served, so that what is refused stays refused
    ]
    return [layer for layer in layers if layer is not None]


def _load_reporter(config: MeshConfig) -> LoadReporter:
    health = config.health
    budget = WatcherBudget(health.max_watchers, health.max_watchers_per_peer, "load reports")
    return LoadReporter(interval=config.telemetry.load_report_interval, budget=budget)


class MeshServer(grpc.aio.Server):
    """A server of the mesh: mutual TLS, the stack, health, reflection, channelz, drain.

    Generated code adds servicers to it as to any server of grpc.aio.

    Args:
        config: Settings of the process.
        identity: Our certificates. If None, the port is plaintext, for tests and benchmarks only.
        layers: The stack, as `server_layers` returns it.
        health: The health servicer, shared with the plaintext health port.
        interceptors: Interceptors of grpc.aio. They run inside the layers, around the application's calls.
    """

    def __init__(
        self,
        config: MeshConfig,
        *,
        identity: IdentityStore | None,
        layers: Sequence[ServerLayer],
        health: HealthServicer,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        #: The port that the server listens on, once started.
        self.port = 0
        self.draining = False
        #: The layers, outermost first, and the interceptors inside them. Both are read when the server
        #: starts.
        self.layers, self.interceptors = list(layers), list(interceptors)
        self._config, self._identity, self._health = config, identity, health
        self._layer_errors = HookErrors("server")
        self._running = Running()
        self._threads = Threads(config.server.threads, "grpcmesh servicer")
        self._handlers = Handlers(self._running, self._threads)
        self._server: grpc.aio.Server | None = None
        self._accepting = Accepting("the mesh port", health.leave)
        self._tasks = Tasks()
        self._guard = ConnectionGuard(config.server.max_connections_per_peer, lambda: self.port)
        self._streams_ended = 0
        self._queue_watcher: QueueWatcher | None = None
        self._inherited: ForkedProcessError | None = None

    def inherited(self, error: ForkedProcessError) -> None:
        """Handle a fork: in the child process, every use of the server raises this error."""
        self._inherited = error

    def _refuse_if_inherited(self) -> None:
        if self._inherited is not None:
            raise self._inherited

    @property
    def services(self) -> frozenset[str]:
        """Return the full names of the services that the application has added."""
        return frozenset(self._handlers.services[Purpose.APPLICATION])

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """Behave as the method of `grpc.aio.Server`."""
        self._handlers.add_generic(Purpose.APPLICATION, generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """Behave as the method of `grpc.aio.Server`. Methods that are plain functions run in threads."""
        self._handlers.add(Purpose.APPLICATION, service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Refuse: a mesh server listens at `config.address`, and nowhere else."""
        raise TypeError("a MeshServer listens at config.address")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Refuse: a mesh server listens at `config.address`, and nowhere else."""
        raise TypeError("a MeshServer listens at config.address")

    async def start(self) -> None:
        """Begin to listen. Health is left as it is: each service starts with the state of the process.

        Raises:
            StartError: The address cannot be listened on.
        """
        forking.register(self)
        self._add_own_services()
        for layer in self.layers:
            layer.attach(self)
        self._handlers.seal({purpose: self._stack(purpose) for purpose in Purpose}, self.interceptors)
        serving = self._health.statuses()[""]
        for service in sorted(self.services):
            self._health.set(service, serving)
        before = connections.server_ids()
        options = mesh_port(self._config.server, file_limit())
        server = grpc.aio.server(handlers=[self._handlers], options=options)
        self.port = listen(server, self._config.address, self._identity)
        await self._accepting.start(server)
        self._server = server
        self._tasks.supervise(self._guard.run, "connection guard")
        if self._queue_watcher is not None:
            self._start_probe(self._queue_watcher)
        if self._identity is not None:
            self._identity.peers.attach(self.end_streams)
            mine = max(connections.server_ids() - before, default=None)
            made = MeshConnections(self.port, mine)
            self._tasks.supervise(functools.partial(self._identity.handshakes.run, made.peers), "handshakes")

    async def drain(self) -> None:
        """Stop without losing calls.

        Reports NOT_SERVING, waits `drain.delay` seconds, refuses new calls, and gives calls under way
        `drain.grace` seconds to end. Response streams that still run after `drain.stream_grace` seconds end
        with an error that tells the caller to resume elsewhere.
        """
        self._refuse_if_inherited()
        self.draining = True
        self._health.leave()
        await asyncio.sleep(self._config.drain.delay)
        if self._server is None:
            return
        stopping = asyncio.create_task(self.stop(self._config.drain.grace), name="stop")
        try:
            await asyncio.wait({stopping}, timeout=self._config.drain.stream_grace)
            self._streams_ended += self.end_streams()
            for layer in self.layers:
                layer.on_drain()
            await stopping
        finally:
            stopping.cancel()

    def close(self, peer: str, reason: str) -> None:
        """Close the connection of a peer. Its calls end with UNAVAILABLE.

        Args:
            peer: The peer in the form of `context.peer()`.
            reason: A label of `mesh_connections_closed_total`.
        """
        self._guard.close(peer, reason)

    def end_streams(
        self,
        which: Callable[[ServerCall], bool] = lambda call: call.method.kind.response_streaming,
        error: Callable[[], MeshError] = leaving,
    ) -> int:
        """End running streams, each at its next safe point. Return how many.

        Args:
            which: Returns whether to end the stream of a call; by default if it has a response stream.
            error: Makes the error for the callers; by default, one that says to resume at another replica.
        """
        ending = [stream for stream in self._running.streams if which(stream.call)]
        for stream in ending:
            stream.interrupt(error)
        return len(ending)

    def probe_queue(self, watcher: QueueWatcher) -> None:
        """Measure how long calls queue, whenever the watcher wants it. Call it before the server starts."""
        self._queue_watcher = watcher

    async def stop(self, grace: float | None) -> None:
        """Refuse new calls. End calls under way with UNAVAILABLE after `grace` seconds (None: at once)."""
        self._refuse_if_inherited()
        self.draining = self._accepting.stopping = True
        if self._server is not None:
            await self._stop(self._server, grace or 0.0)
        self._threads.stop()
        await self._tasks.aclose()

    async def _stop(self, server: grpc.aio.Server, grace: float) -> None:
        # grpc cancels calls without a word, so it is given a little longer than their servicers.
        stopping = asyncio.create_task(server.stop(grace + _LAST_WORD), name="stop")
        try:
            await asyncio.wait({stopping}, timeout=grace)
            while not stopping.done():  # calls that were on their way may still begin
                self._running.cut()
                await asyncio.wait({stopping}, timeout=_CUT_AGAIN)
            await stopping
        finally:
            stopping.cancel()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """Wait until the server has stopped, for at most `timeout` seconds.

        As in `grpc.aio.Server`, returns False once the server has stopped, and True after the timeout.

        Raises:
            AcceptLoopEndedError: The server has ended although nobody stopped it.
        """
        self._refuse_if_inherited()
        if self._server is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._accepting.wait()
                return await self._server.wait_for_termination()
        except TimeoutError:
            return True

    async def accept_loop_ended(self) -> None:
        """Wait until the server is stopped. Raises AcceptLoopEndedError if it has ended without `stop`."""
        await self._accepting.wait()

    def methods(self) -> list[Method]:
        """Return the methods that have been added."""
        return self._handlers.methods()

    def state(self) -> Mapping[str, Any]:
        """Return the layers' state for the admin page."""
        return {key: value for layer in self.layers for key, value in layer.state().items()}

    def collect(self) -> Iterable[Metric]:
        serving = self._health.statuses()[""]
        yield GaugeMetricFamily("mesh_serving", "1 while health says SERVING.", value=int(serving))
        yield GaugeMetricFamily("mesh_draining", "1 while this process is leaving.", value=int(self.draining))
        yield CounterMetricFamily(
            "mesh_drain_streams_ended",
            "Response streams that a drain told to resume elsewhere.",
            value=self._streams_ended,
        )
        yield from self._layer_errors.collect()
        yield from self._tasks.collect()
        yield from self._guard.collect()
        for layer in self.layers:
            yield from layer.metrics()

    def _start_probe(self, watcher: QueueWatcher) -> None:
        config = self._config
        target = loopback(config.address, self.port)
        made = QueueProbe(target, config.own_name, self._identity, watcher, self._tasks, monotonic)
        self._handlers.add_bare(PATH, made.handler)
        self._tasks.supervise(made.run, "queue probe")

    def _stack(self, purpose: Purpose) -> Stack:
        domain = self._config.server.error_domain or self._config.service
        return Stack(self.layers, self._config.replica, purpose, self._layer_errors, domain)

    def _application_methods(self) -> list[Method]:
        return self._handlers.methods(Purpose.APPLICATION)

    def _add_own_services(self) -> None:
        own: Any = self._handlers.registrar(Purpose.MESH)
        self._health.register(own)
        for layer in self.layers:
            layer.register(self._handlers.registrar(layer.registers), self._application_methods)
        introspection.register(self._config.server, self._all_services, own)

    def _all_services(self) -> set[str]:
        return set[str]().union(*self._handlers.services.values())
