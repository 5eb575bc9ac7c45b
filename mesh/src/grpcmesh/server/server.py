"""MeshServer: generated code adds servicers to it as to any server; their calls run through the stack."""

import asyncio
import functools
import logging
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import grpc
from grpc_channelz.v1 import channelz, channelz_pb2_grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from grpcmesh.auth import TokenVerifier, UserLayer
from grpcmesh.authz import AuthzLayer, PolicyStore
from grpcmesh.balancer import LoadReporter
from grpcmesh.call import CONTROL_SERVICES, EXEMPT_SERVICES, Method, ServerLayer, exempt
from grpcmesh.clock import monotonic, system_rng
from grpcmesh.config import MeshConfig
from grpcmesh.fault import FaultLayer, Faults, FaultServicer
from grpcmesh.fault.fault_pb2_grpc import add_FaultServiceServicer_to_server
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityLayer, IdentityStore
from grpcmesh.server import connections
from grpcmesh.server.accept import Accepting
from grpcmesh.server.handlers import UNKNOWN_METHOD, Handlers
from grpcmesh.server.ports import OPTIONS, listen
from grpcmesh.server.streams import Stream
from grpcmesh.server.wrapping import Stack

if TYPE_CHECKING:
    from grpcmesh.telemetry import Telemetry

_log = logging.getLogger(__name__)


def server_layers(
    config: MeshConfig,
    telemetry: "Telemetry",
    policy: PolicyStore,
    verifier: TokenVerifier | None,
    identity: IdentityStore | None = None,
) -> list[ServerLayer]:
    """The stack, outermost first. Innermost, in `grpcmesh.server.wrapping`, stands the mapping of errors."""
    domain, namespace = config.identity.trust_domain, config.namespace
    reporter = [LoadReporter()] if config.telemetry.load_report_interval else []
    faults = [FaultLayer(Faults(monotonic, system_rng()))] if config.fault.enabled else []
    return [
        telemetry.trace_server,  # first, so that all that follows has a trace to belong to
        telemetry.metrics_server,  # before anything can refuse: a refused call counts
        telemetry.access_log,  # the same; written at the end, when the layers below know who called
        *reporter,  # what callers balance by, where they ask for it: refusals are load, too
        IdentityLayer(domain, identity.handshakes if identity else None),  # who is it, by its certificate
        AuthzLayer(policy, domain, namespace),  # may this workload call this method
        UserLayer(verifier, policy.user_rule),  # and on whose behalf
        *faults,  # last: only what would have been served is broken, and what is refused stays refused
    ]


class MeshServer(grpc.aio.Server):
    """A server of the mesh: mutual TLS, the stack, health, reflection, channelz, drain.

    Args:
        config: Address, replica, drain.
        identity: Certificates; None means plaintext, for tests and benchmarks only.
        layers: `server_layers(...)`.
        health: Shared with the plaintext health port.
    """

    def __init__(
        self,
        config: MeshConfig,
        *,
        identity: IdentityStore | None,
        layers: Sequence[ServerLayer],
        health: HealthServicer,
    ) -> None:
        #: The one it listens on, once started.
        self.port = 0
        self.draining = False
        self._config, self._identity, self._health = config, identity, health
        self._layers = layers
        self._stack = Stack(layers, config.replica)
        self._faults = next((layer for layer in layers if isinstance(layer, FaultLayer)), None)
        # Here, and only here, what steers the process passes by the faults; the mesh's own services pass by
        # policy and user, too, and so does what does not exist.
        control = [layer for layer in layers if layer is not self._faults]
        passing = [layer for layer in control if not isinstance(layer, AuthzLayer | UserLayer)]
        self._control_stack, self._passing_stack = (Stack(s, config.replica) for s in (control, passing))
        self._streams: set[Stream] = set()
        self._handlers = Handlers(self._stack_for, self._streams)
        self._server: grpc.aio.Server | None = None
        self._accepting = Accepting("the mesh port", health.leave)
        self._watches: set[asyncio.Task[None]] = set()
        self._streams_ended = 0

    @property
    def services(self) -> frozenset[str]:
        """Full names of the services that were added, without the mesh's own."""
        return frozenset(self._handlers.services - EXEMPT_SERVICES - CONTROL_SERVICES)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        """As `grpc.aio.Server`."""
        self._handlers.add_generic_rpc_handlers(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, "grpc.RpcMethodHandler[Any, Any]"]
    ) -> None:
        """As `grpc.aio.Server`. Raises TypeError where a method is not `async def`."""
        self._handlers.add_registered_method_handlers(service_name, method_handlers)

    def add_insecure_port(self, address: str) -> int:
        """Not here: a mesh server listens at `config.address`, and nowhere else."""
        raise TypeError("a MeshServer listens at config.address")

    def add_secure_port(self, address: str, server_credentials: grpc.ServerCredentials) -> int:
        """Not here, as above."""
        raise TypeError("a MeshServer listens at config.address")

    async def start(self) -> None:
        """Listens. Health says SERVING only when somebody sets it.

        Raises:
            StartError: the address cannot be listened on.
        """
        self._add_own_services()
        for service in sorted(self.services):
            self._health.set(service, False)
        before = await connections.server_ids()
        server = grpc.aio.server(handlers=[self._handlers], options=OPTIONS)
        self.port = listen(server, self._config.address, self._identity)
        await self._accepting.start(server)
        self._server = server
        if self._identity is not None:
            mine = max(await connections.server_ids() - before)
            watch = self._identity.handshakes.run(functools.partial(connections.peers, mine))
            self._watch(watch, "counting of failed handshakes")
        for layer in self._layers:
            if isinstance(layer, LoadReporter):
                self._watch(self._report_load(layer), "load reports")

    async def drain(self) -> None:
        """Leaves without losing a call: NOT_SERVING, `drain.delay`, no new calls, `drain.grace` for the rest.

        Response streams that still run after `drain.stream_grace` are told to resume elsewhere.
        """
        self.draining = True
        self._health.leave()
        await asyncio.sleep(self._config.drain.delay)
        if self._server is None:
            return
        stopping = asyncio.create_task(self.stop(self._config.drain.grace), name="stop")
        try:
            await asyncio.wait({stopping}, timeout=self._config.drain.stream_grace)
            self.end_streams()
            await stopping
        finally:
            stopping.cancel()

    def end_streams(self) -> None:
        """Tells running response streams to resume elsewhere, each at its next safe point."""
        for stream in list(self._streams):
            self._streams_ended += 1
            stream.interrupt()
        if self._faults is not None:
            self._faults.leave()

    async def stop(self, grace: float | None) -> None:
        """Refuses new calls; those that run are cancelled after `grace` seconds."""
        self.draining = self._accepting.stopping = True
        if self._server is not None:
            await self._server.stop(grace)
        for watch in self._watches:
            watch.cancel()
        if self._watches:
            await asyncio.wait(self._watches)
        self._watches.clear()

    async def wait_for_termination(self, timeout: float | None = None) -> bool:
        """As `grpc.aio.Server`: False once the server has stopped, True after `timeout` seconds without that.

        Raises:
            AcceptLoopEndedError: The server has ended although nobody stopped it.
        """
        if self._server is None:
            return True
        try:
            async with asyncio.timeout(timeout):
                await self._accepting.wait()
                return await self._server.wait_for_termination()
        except TimeoutError:
            return True

    async def accept_loop_ended(self) -> None:
        """Wait until the server is stopped. Raises `AcceptLoopEndedError` if it has ended in another way."""
        await self._accepting.wait()

    def methods(self) -> list[Method]:
        """Those that were added."""
        return self._handlers.methods()

    def faults(self) -> Mapping[str, str]:
        """What is set, for the admin page."""
        return self._faults.state() if self._faults else {}

    def collect(self) -> Iterable[Metric]:
        serving = self._health.statuses()[""]
        yield GaugeMetricFamily("mesh_serving", "1 while health says SERVING.", value=int(serving))
        yield GaugeMetricFamily("mesh_draining", "1 while this process is leaving.", value=int(self.draining))
        yield CounterMetricFamily(
            "mesh_drain_streams_ended",
            "Response streams that a drain told to resume elsewhere.",
            value=self._streams_ended,
        )
        for layer in self._layers:
            if isinstance(layer, IdentityLayer | AuthzLayer | FaultLayer):
                yield from layer.collect()

    def _watch(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_log_failure)
        self._watches.add(task)

    async def _report_load(self, reporter: LoadReporter) -> None:
        while True:
            await asyncio.sleep(self._config.telemetry.load_report_interval)
            self._stack.tell(reporter.metadata())

    def _breakable(self) -> list[Method]:
        return [m for m in self.methods() if m.service in self.services]

    def _stack_for(self, method: Method) -> Stack:
        passes_by = exempt(method) or method.service == UNKNOWN_METHOD.service
        if passes_by:
            return self._passing_stack
        return self._control_stack if method.service in CONTROL_SERVICES else self._stack

    def _add_own_services(self) -> None:
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self)
        channelz_pb2_grpc.add_ChannelzServicer_to_server(channelz.aio.ChannelzServicer(), self)
        if self._faults is not None:
            add_FaultServiceServicer_to_server(FaultServicer(self._faults, self._breakable), self)
        reflection.enable_server_reflection(sorted({*self._handlers.services, reflection.SERVICE_NAME}), self)


def _log_failure(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception():
        _log.error("%s has ended", task.get_name(), exc_info=task.exception())
