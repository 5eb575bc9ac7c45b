"""The shared vocabulary of a call: its method and kind, who calls, and the hooks of a layer.

The stacks (`grpcmesh.client.stack`, `grpcmesh.server.server`) are lists of layers. Layers are the same for
all four kinds of call: the stack calls `on_start` once before the call and `on_end` once after it. Hooks are
plain functions, because an await per layer costs more than most layers do.
"""

import enum
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import grpc
from prometheus_client import Metric

from grpcmesh.callers import Principal as Principal
from grpcmesh.callers import Workload as Workload
from grpcmesh.serving import Connections as Connections
from grpcmesh.serving import Registrar as Registrar


class Kind(enum.Enum):
    """The four kinds of call, named as in the `grpc_type` label of public dashboards."""

    UNARY = "unary"
    SERVER_STREAM = "server_stream"
    CLIENT_STREAM = "client_stream"
    BIDI_STREAM = "bidi_stream"

    @property
    def request_streaming(self) -> bool:
        return self in (Kind.CLIENT_STREAM, Kind.BIDI_STREAM)

    @property
    def response_streaming(self) -> bool:
        return self in (Kind.SERVER_STREAM, Kind.BIDI_STREAM)


@dataclass(frozen=True, slots=True)
class Method:
    """A method: its path on the wire, `/ecommerce.ProductService/GetProduct`, and its kind."""

    path: str
    service: str
    name: str
    kind: Kind

    @classmethod
    def parse(cls, path: str | bytes, kind: Kind) -> "Method":
        """Parse a path on the wire. Results are cached, because a process uses few methods."""
        return _parse(path if isinstance(path, str) else path.decode(), kind)

    @property
    def full_name(self) -> str:
        """Return the form used by policies and commands: `ecommerce.ProductService/GetProduct`."""
        return self.path[1:]


@functools.lru_cache(maxsize=4096)
def _parse(path: str, kind: Kind) -> Method:
    service, _, name = path.removeprefix("/").rpartition("/")
    return Method(path, service, name, kind)


class Purpose(enum.Enum):
    """The purpose of a served call. It depends on the handler that serves it, never on its path."""

    APPLICATION = "application"
    """The call is served by a servicer of the application, or by one of its generic handlers."""
    CONTROL = "control"
    """The call controls the process (fault injection). It is authorized as usual, but exempt from faults."""
    MESH = "mesh"
    """The call is to a service of the mesh itself: health, reflection, channelz. It is exempt from
    authorization, user authentication and faults."""
    UNKNOWN = "unknown"
    """The method is unknown: the call is answered with UNIMPLEMENTED."""


#: The default of `ServerLayer.applies_to`.
EVERY_PURPOSE = frozenset(Purpose)

#: Names of the mesh's own services, by which a client recognizes them. A server uses `Purpose`.
MESH_SERVICES = frozenset(
    {
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.reflection.v1.ServerReflection",
        "grpc.channelz.v1.Channelz",
        "xds.service.orca.v3.OpenRcaService",
    }
)


def is_mesh_service(method: Method) -> bool:
    """Return whether a method belongs to a service of the mesh itself, by its name. For clients."""
    return method.service in MESH_SERVICES


class TraceContext(NamedTuple):
    """A W3C trace context (https://www.w3.org/TR/trace-context/), with ids in lower-case hex."""

    trace_id: str
    span_id: str
    sampled: bool
    #: The `tracestate` to forward, which holds data of tracing systems.
    state: str = ""


@dataclass(slots=True, eq=False)
class ServerCall:
    """A call that is being served. Layers read it, and set the fields that they are responsible for."""

    method: Method
    context: "grpc.aio.ServicerContext[Any, Any]"
    #: Monotonic seconds.
    started: float
    #: Request metadata. For a repeated key it has the last value; see `values`.
    metadata: Mapping[str, str | bytes]
    purpose: Purpose = Purpose.APPLICATION
    #: Monotonic seconds at which the caller stops waiting; None without a deadline.
    deadline: float | None = None
    workload: Workload | None = None
    #: The connection's certificate (`grpcmesh.identity.peers.Peer`).
    peer: Any = None
    principal: Principal | None = None
    trace: TraceContext | None = None
    #: The W3C `baggage` to forward. It comes from the caller, so do not trust it. It is never logged.
    baggage: str = ""
    #: The OpenTelemetry server span, if the call is sampled.
    span: Any = None
    #: Awaited after all start hooks, before the servicer. A MeshError that it raises ends the call.
    hold: Callable[[], Awaitable[None]] | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: BaseException | None = None
    #: The stack's own trailing metadata.
    trailing: tuple[tuple[str, str | bytes], ...] = ()
    received: int = 0
    sent: int = 0
    #: Bytes of the serialized messages.
    received_bytes: int = 0
    sent_bytes: int = 0
    #: Monotonic seconds; set before `on_end`.
    ended: float = 0.0
    #: Whether the call has been answered. From then on, tasks that outlive it inherit nothing from it.
    over: bool = False
    #: The end hooks of the layers whose start hooks have run. Only for the stack.
    ends: "tuple[Callable[[ServerCall], None], ...]" = ()
    #: Whether the server has cut the call, because it stops. Only for the stack.
    cut: bool = False
    #: Whether a metadata key may have been sent more than once. If not, `values` reads `metadata`.
    repeats: bool = True

    def values(self, key: str) -> Sequence[str | bytes]:
        """Return all values of a metadata key, in the order in which they were sent."""
        if key not in self.metadata:
            return ()
        if not self.repeats:
            return (self.metadata[key],)
        return [value for name, value in self.context.invocation_metadata() or () if name == key]


@dataclass(slots=True, eq=False)
class ClientCall:
    """One logical call of a client. It may have several attempts."""

    method: Method
    #: The short name of the service called, such as `product`.
    target: str
    started: float
    #: Request metadata; layers append to it.
    metadata: list[tuple[str, str | bytes]] = field(default_factory=list)
    #: Monotonic seconds; set by the deadline layer, always.
    deadline: float | None = None
    trace: TraceContext | None = None
    span: Any = None
    #: The address that served the last attempt, `127.0.1.1:50051`.
    endpoint: str | None = None
    attempts: int = 0
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: BaseException | None = None
    received: int = 0
    sent: int = 0
    #: Bytes of the requests, serialized.
    sent_bytes: int = 0
    ended: float = 0.0


class ServerLayer:
    """A layer of the server stack. Override the hooks that you need.

    `on_start` runs outermost layer first. A layer refuses the call by raising a `grpcmesh.errors.MeshError`.
    A layer that has to wait sets `call.hold`. `on_end` runs in reverse order, for each layer whose `on_start`
    returned.

    Any other exception of a hook is an error of the layer. It is counted in `mesh_layer_errors_total`, and
    the first is logged. In `on_end` it has no other effect. In `on_start` it ends the call with INTERNAL, so
    that a layer that protects something fails closed. If the layer only `observes`, the call goes on.
    """

    #: The calls that run through the layer.
    applies_to: ClassVar[frozenset[Purpose]] = EVERY_PURPOSE
    #: Whether a call goes on if the layer's `on_start` fails. For telemetry, not for layers that protect.
    observes: ClassVar[bool] = False
    #: The purpose of calls to the services that the layer registers.
    registers: ClassVar[Purpose] = Purpose.CONTROL

    def on_start(self, call: ServerCall) -> None:
        """Handle a call before its servicer runs."""

    def on_end(self, call: ServerCall) -> None:
        """Handle the end of a call. `call.code`, `call.error` and `call.ended` are set."""

    def attach(self, connections: Connections) -> None:
        """Handle the start of the server. A layer that ends streams or connections keeps `connections`."""

    def on_drain(self) -> None:
        """Handle a drain: release the calls that the layer holds."""

    def register(self, server: Registrar, methods: Callable[[], Iterable[Method]]) -> None:
        """Add the services that control the layer. Called once, before the server starts.

        Args:
            server: Accepts services. Their calls have the purpose `registers`.
            methods: Returns the application's methods, once the server has started.
        """

    def metrics(self) -> Iterable[Metric]:
        """Return the layer's metrics, which the server exposes with its own."""
        return ()

    def state(self) -> Mapping[str, Any]:
        """Return the layer's state for the admin page, by key, as values that JSON can encode."""
        return {}


class Attempt:
    """One attempt of a call at one endpoint. A call has several if it is retried or hedged.

    Args:
        call: The logical call that it belongs to.
        endpoint: The endpoint that it goes to (`grpcmesh.balancer.Endpoint`).
        number: Number of the attempt, from 1.
        started: Monotonic seconds.
    """

    __slots__ = ("call", "code", "ended", "endpoint", "local", "number", "received_bytes", "started")

    def __init__(self, call: ClientCall, endpoint: Any, number: int, started: float) -> None:
        self.call, self.endpoint, self.number, self.started = call, endpoint, number, started
        self.code = grpc.StatusCode.OK
        #: Monotonic seconds; set before `on_end`.
        self.ended = 0.0
        #: Whether this side ended it, so that its code says nothing about the endpoint.
        self.local = False
        #: Bytes of the responses that were read, serialized.
        self.received_bytes = 0

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """Return the trailing metadata of the server, which is empty before the attempt has ended."""
        return ()


class ClientLayer:
    """A layer of the client's call stack. Override the hooks that you need; others cost nothing.

    If a hook raises another exception than it may, that is counted and logged once, and the call goes on
    without it.
    """

    def applies(self, method: Method) -> bool:
        """Return whether the layer takes part in calls of this method. Asked once per method."""
        return True

    def on_start(self, call: ClientCall) -> None:
        """Handle a call before its first attempt. Raise a `grpcmesh.errors.MeshError` to fail the call."""

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        """Handle the end of an attempt, even if it will be retried. See `call.attempts`, `call.endpoint`."""

    def on_end(self, call: ClientCall) -> None:
        """Handle the end of a call. `call.code`, `call.error` and `call.ended` are set.

        These hooks run in reverse order, for each layer whose `on_start` returned.
        """

    def metrics(self, target: str) -> Iterable[Metric]:
        """Yield what the layer counted for the channel of this target."""
        return ()


class AttemptLayer:
    """A layer of the client's attempt stack. Override the hooks that you need; others cost nothing.

    If a hook raises another exception than it may, that is counted and logged once, and the attempt goes on.
    """

    def applies(self, method: Method) -> bool:
        """Return whether the layer takes part in attempts of this method. Asked once per method."""
        return True

    def on_start(self, attempt: Attempt) -> None:
        """Handle an attempt before it is sent. Raise a `grpcmesh.errors.MeshError` to end the call."""

    def on_end(self, attempt: Attempt) -> None:
        """Handle the end of an attempt. `attempt.code` and `attempt.ended` are set.

        These hooks run in reverse order, for each layer whose `on_start` returned.
        """

    def metrics(self, target: str) -> Iterable[Metric]:
        """Yield what the layer counted for the channel of this target."""
        return ()


class CurrentCall:
    """The call that the running task serves, like a `ContextVar` whose value expires.

    A task copies the context in which it is created, and may outlive the call. Once the call is over, `get`
    returns None in every copy. See mesh/docs/context.md.
    """

    def __init__(self) -> None:
        self._var: ContextVar[ServerCall | None] = ContextVar("current_call", default=None)

    def get(self) -> ServerCall | None:
        """Return the call while it is being served, else None."""
        call = self._var.get()
        return None if call is None or call.over else call

    def set(self, call: ServerCall | None) -> Token[ServerCall | None]:
        """Set the call that the running task serves, and every task that it creates from now on."""
        return self._var.set(call)

    def reset(self, token: Token[ServerCall | None]) -> None:
        """Restore the value from before the `set` that returned the token."""
        self._var.reset(token)


#: The call that the running task serves. Client layers read the deadline and the trace from it.
current_call = CurrentCall()


def current_principal() -> Principal | None:
    """Return the user of the call being served, or None."""
    call = current_call.get()
    return call.principal if call else None


def current_workload() -> Workload | None:
    """Return the workload that made the call being served, or None."""
    call = current_call.get()
    return call.workload if call else None
