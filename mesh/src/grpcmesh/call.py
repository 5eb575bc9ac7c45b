"""The shared vocabulary of a call: its method and kind, who calls, and the hooks of a layer.

The stacks (`grpcmesh.client.stack`, `grpcmesh.server.server`) are lists of layers. A layer never sees
that there are four kinds of call: the stack knows, in one helper. It calls `on_start` once before and
`on_end` once after. Hooks are plain functions, because an await per layer costs more than most layers do.
"""

import enum
import functools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

import grpc
from prometheus_client import Metric

from grpcmesh.serving import Connections as Connections
from grpcmesh.serving import Registrar as Registrar
from grpcmesh.spiffe import parse_workload


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
    """A method of the wire: `/ecommerce.ProductService/GetProduct` and its kind."""

    path: str
    service: str
    name: str
    kind: Kind

    @classmethod
    def parse(cls, path: str | bytes, kind: Kind) -> "Method":
        """Splits a wire path. Results are shared: a process knows few methods."""
        return _parse(path if isinstance(path, str) else path.decode(), kind)

    @property
    def full_name(self) -> str:
        """`ecommerce.ProductService/GetProduct`, as policies and commands write it."""
        return self.path[1:]


@functools.lru_cache(maxsize=4096)
def _parse(path: str, kind: Kind) -> Method:
    service, _, name = path.removeprefix("/").rpartition("/")
    return Method(path, service, name, kind)


class Purpose(enum.Enum):
    """What a served call is for: decided by the handler that serves it, never by its path."""

    APPLICATION = "application"
    """Served by a servicer of the application, or by one of its generic handlers."""
    CONTROL = "control"
    """Steers the process (fault injection): authorized like any other, but no fault may keep it out."""
    MESH = "mesh"
    """Of the mesh itself: health, reflection, channelz. Passes by authorization, user auth and faults."""
    UNKNOWN = "unknown"
    """Served by nobody: answered with UNIMPLEMENTED."""


#: What a layer applies to that says nothing else.
EVERY_PURPOSE = frozenset(Purpose)

#: Names of the mesh's own services, for a client's view of what it calls. A server goes by `Purpose`.
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
    """Return whether a client calls a service of the mesh itself, by its name."""
    return method.service in MESH_SERVICES


@dataclass(frozen=True, slots=True)
class Workload:
    """Who calls, as its certificate says: `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE`."""

    trust_domain: str
    namespace: str
    service: str

    def __str__(self) -> str:
        return f"spiffe://{self.trust_domain}/ns/{self.namespace}/sa/{self.service}"

    @classmethod
    def parse(cls, uri: str) -> "Workload | None":
        """The workload of a SPIFFE id, or None where the text is not one of this form.

        Exact: `str()` of the result is the text again, so two ids are equal only if their texts are.
        """
        found = parse_workload(uri)
        return cls(*found) if found else None


@dataclass(frozen=True, slots=True)
class Principal:
    """The user on whose behalf the call is made, as its token says."""

    user_id: int
    name: str
    roles: frozenset[str] = frozenset()
    #: Unix seconds at which the token ends, and was issued (0: it does not say).
    expires_at: float = 0.0
    issued_at: float = 0.0
    #: The log-in that the token belongs to; empty: it does not say.
    session: str = ""

    def has(self, role: str) -> bool:
        return role in self.roles


class TraceContext(NamedTuple):
    """W3C trace context (https://www.w3.org/TR/trace-context/): lower-case hex ids."""

    trace_id: str
    span_id: str
    sampled: bool
    #: What tracing systems add for each other, as it is sent on (`tracestate`).
    state: str = ""


@dataclass(slots=True, eq=False)
class ServerCall:
    """One call being served. Layers read it and fill in what they learn."""

    method: Method
    context: "grpc.aio.ServicerContext[Any, Any]"
    #: Monotonic seconds.
    started: float
    #: Request metadata; the last value of a repeated key.
    metadata: Mapping[str, str | bytes]
    purpose: Purpose = Purpose.APPLICATION
    #: Monotonic seconds at which the caller stops waiting; None without a deadline.
    deadline: float | None = None
    workload: Workload | None = None
    #: The connection's certificate (`grpcmesh.identity.peers.Peer`).
    peer: Any = None
    principal: Principal | None = None
    trace: TraceContext | None = None
    #: W3C `baggage` of the caller, as it is sent on. It proves nothing, and is never logged.
    baggage: str = ""
    #: The sampled server span, where there is one (an OpenTelemetry span).
    span: Any = None
    #: Awaited once the layers have let the call in, before the servicer; raising a MeshError ends it.
    hold: Callable[[], Awaitable[None]] | None = None
    code: grpc.StatusCode = grpc.StatusCode.OK
    error: BaseException | None = None
    #: The stack's own trailing metadata.
    trailing: tuple[tuple[str, str | bytes], ...] = ()
    received: int = 0
    sent: int = 0
    #: Monotonic seconds; set before `on_end`.
    ended: float = 0.0
    #: True once the caller has been answered: tasks that outlive the call inherit nothing from it.
    over: bool = False
    #: The stack's own: the end hooks of the layers that have been entered.
    ends: "tuple[Callable[[ServerCall], None], ...]" = ()

    def values(self, key: str) -> Sequence[str | bytes]:
        """Return all values of a metadata key, in the order in which they came."""
        if key not in self.metadata:
            return ()
        return [value for name, value in self.context.invocation_metadata() or () if name == key]


@dataclass(slots=True, eq=False)
class ClientCall:
    """One logical call of a client, whatever the number of attempts below it."""

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
    ended: float = 0.0


class ServerLayer:
    """A concern of the server stack. Override what you need.

    `on_start` runs outermost layer first; raising a `grpcmesh.errors.MeshError` refuses the call.
    A layer that has to wait sets `call.hold`.
    `on_end` runs in reverse, for each layer whose `on_start` returned.

    What a hook raises beside that is an error of the layer: it is counted in `mesh_layer_errors_total`, and
    the first is logged. In `on_end` it changes nothing. In `on_start` it ends the call with INTERNAL, so that
    a layer which guards something fails closed, unless the layer merely `observes`.
    """

    #: The calls that run through the layer.
    applies_to: ClassVar[frozenset[Purpose]] = EVERY_PURPOSE
    #: Whether a call goes on where the layer's `on_start` fails: for telemetry, for nothing that guards.
    observes: ClassVar[bool] = False
    #: What calls of the services are for that the layer registers.
    registers: ClassVar[Purpose] = Purpose.CONTROL

    def on_start(self, call: ServerCall) -> None:
        """Before the servicer."""

    def on_end(self, call: ServerCall) -> None:
        """After it; `call.code`, `call.error` and `call.ended` are set."""

    def attach(self, connections: Connections) -> None:
        """The server starts: a layer that ends streams or closes connections keeps this."""

    def on_drain(self) -> None:
        """The process leaves: let go of calls that the layer holds."""

    def register(self, server: Registrar, methods: Callable[[], Iterable[Method]]) -> None:
        """Add the services through which the layer is steered, once, before the server starts.

        Args:
            server: Takes services, whose calls are for what `registers` says.
            methods: The application's methods, once the server has started.
        """

    def metrics(self) -> Iterable[Metric]:
        """Return what the server shows of this layer among its own metrics."""
        return ()

    def state(self) -> Mapping[str, Any]:
        """Return what the admin page shows of this layer, by key; JSON-able."""
        return {}


class Attempt:
    """One try of a call at one endpoint. A call has one at least, more where it is retried or hedged.

    Args:
        call: The logical call that it belongs to.
        endpoint: Where it goes, as the balancer knows it (`grpcmesh.balancer.Endpoint`).
        number: From 1.
        started: Monotonic seconds.
    """

    __slots__ = ("call", "code", "ended", "endpoint", "local", "number", "started")

    def __init__(self, call: ClientCall, endpoint: Any, number: int, started: float) -> None:
        self.call, self.endpoint, self.number, self.started = call, endpoint, number, started
        self.code = grpc.StatusCode.OK
        #: Monotonic seconds; set before `on_end`.
        self.ended = 0.0
        #: Whether this side ended it: its code says nothing of the endpoint.
        self.local = False

    def trailing_metadata(self) -> Iterable[tuple[str, str | bytes]]:
        """Return the metadata that the server sent after its answer; it is empty before the end."""
        return ()


class ClientLayer:
    """A concern of the client's logical stack. Override what you need: a hook that stays costs nothing.

    A hook that raises anything else than it may is counted and logged once, and the call goes on without it.
    """

    def applies(self, method: Method) -> bool:
        """Return whether the layer takes part in calls of this method. Asked once per method."""
        return True

    def on_start(self, call: ClientCall) -> None:
        """Before the first attempt. Raising a `grpcmesh.errors.MeshError` fails the call."""

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        """After each attempt (`call.attempts`, `call.endpoint`), also one that will be retried."""

    def on_end(self, call: ClientCall) -> None:
        """After the last attempt; `call.code`, `call.error` and `call.ended` are set.

        Runs in reverse, for each layer whose `on_start` returned.
        """

    def metrics(self, target: str) -> Iterable[Metric]:
        """Yield what the layer counted for the channel of this target."""
        return ()


class AttemptLayer:
    """A concern of the client's attempt stack. Override what you need: a hook that stays costs nothing.

    A hook that raises anything else than it may is counted and logged once, and the attempt goes on.
    """

    def applies(self, method: Method) -> bool:
        """Return whether the layer takes part in attempts of this method. Asked once per method."""
        return True

    def on_start(self, attempt: Attempt) -> None:
        """Before the attempt is sent. Raising a `grpcmesh.errors.MeshError` ends the call, unsent."""

    def on_end(self, attempt: Attempt) -> None:
        """After it; `attempt.code` and `attempt.ended` are set.

        Runs in reverse, for each layer whose `on_start` returned.
        """

    def metrics(self, target: str) -> Iterable[Metric]:
        """Yield what the layer counted for the channel of this target."""
        return ()


class CurrentCall:
    """The call that the running task serves, like a `ContextVar` whose value expires.

    A task copies the context in which it is created, and may outlive the call. From the moment the call is
    over, `get` returns None in every copy. See mesh/docs/context.md.
    """

    def __init__(self) -> None:
        self._var: ContextVar[ServerCall | None] = ContextVar("current_call", default=None)

    def get(self) -> ServerCall | None:
        """Return the call while it is being served, else None."""
        call = self._var.get()
        return None if call is None or call.over else call

    def set(self, call: ServerCall | None) -> Token[ServerCall | None]:
        """Make this the call that the running task, and every task it creates, serves."""
        return self._var.set(call)

    def reset(self, token: Token[ServerCall | None]) -> None:
        """Restore what was there before the `set` that returned the token."""
        self._var.reset(token)


#: A client layer reads deadline and trace from it.
current_call = CurrentCall()


def current_principal() -> Principal | None:
    """The user of the call being served, or None."""
    call = current_call.get()
    return call.principal if call else None


def current_workload() -> Workload | None:
    """The workload that called, or None."""
    call = current_call.get()
    return call.workload if call else None
