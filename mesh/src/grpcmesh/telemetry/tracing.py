"""Tracing layers: one server span a call, one client span a logical call with an event per attempt.

Sampling is decided where a trace begins and followed everywhere else, so an unsampled call passes
on two ids and builds nothing. Attributes follow OpenTelemetry's RPC conventions
(https://opentelemetry.io/docs/specs/semconv/rpc/). Payloads and tokens are never recorded.
"""

import random
from typing import Any, Protocol

import grpc

from grpcmesh.call import (
    ClientCall,
    ClientLayer,
    Purpose,
    ServerCall,
    ServerLayer,
    TraceContext,
    is_mesh_service,
)
from grpcmesh.telemetry.context import (
    TRACEPARENT,
    Active,
    active,
    current_trace,
    format_traceparent,
    parse_traceparent,
)

_OK = grpc.StatusCode.OK

#: What counts as the server's own fault; the caller's mistakes leave its span in peace.
SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)

Attributes = dict[str, str | int | float | bool]


class Recorder(Protocol):
    """Makes spans; see `grpcmesh.telemetry.spans`. `kind` is `server`, `client` or `internal`."""

    def start(self, name: str, kind: str, parent: TraceContext | None, attributes: Attributes) -> Any: ...

    def context(self, span: Any) -> TraceContext: ...

    def end(self, span: Any, error: str | None, attributes: Attributes) -> None: ...


class Tracer:
    """Decides, and starts and ends spans.

    Args:
        ratio: Share of new traces that are recorded.
        recorder: None where spans go nowhere: then nothing is sampled here, but contexts pass through.
        rng: Draws ids of unsampled traces and the decision.
    """

    def __init__(self, ratio: float, recorder: Recorder | None, rng: random.Random) -> None:
        self._ratio = ratio
        self._recorder = recorder
        self._rng = rng

    def sample(self, parent: TraceContext | None, force: bool = False) -> bool:
        """Whether to record: the parent's decision; for a new trace a draw, unless forced."""
        if self._recorder is None:
            return False
        if parent is not None:
            return parent.sampled
        return force or self._rng.random() < self._ratio

    def start(
        self, name: str, kind: str, parent: TraceContext | None, attributes: Attributes
    ) -> tuple[TraceContext, Any]:
        """A recorded span and its context. Only after `sample` said so."""
        assert self._recorder is not None
        span = self._recorder.start(name, kind, parent, attributes)
        return self._recorder.context(span), span

    def unsampled(self) -> TraceContext:
        """A new trace that nobody records: its ids still join the log lines of all its services."""
        bits = self._rng.getrandbits(192) | 1 << 64 | 1
        ids = f"{bits:048x}"
        return TraceContext(ids[:32], ids[32:], False)

    def end(self, span: Any, error: str | None, attributes: Attributes) -> None:
        """Ends a span; `error` names what failed."""
        assert self._recorder is not None
        self._recorder.end(span, error, attributes)


class ServerTrace(ServerLayer):
    """The outermost server layer: sets `call.trace`, and `call.span` when sampled.

    Args:
        address: Where this server listens, `host:port`.
    """

    observes = True

    def __init__(self, tracer: Tracer, address: str) -> None:
        self._tracer = tracer
        self._address = _endpoint(address)

    def on_start(self, call: ServerCall) -> None:
        parent = parse_traceparent(call.metadata.get(TRACEPARENT))
        tracer = self._tracer
        if parent is None and call.purpose is Purpose.MESH:
            return
        if tracer.sample(parent):
            name = call.method.full_name
            attributes = {**_rpc(name), **self._address}
            call.trace, call.span = tracer.start(name, "server", parent, attributes)
        else:
            call.trace = parent or tracer.unsampled()

    def on_end(self, call: ServerCall) -> None:
        if call.span is None:
            return
        attributes: Attributes = {"rpc.response.status_code": call.code.name}
        if call.workload is not None:
            attributes["mesh.caller"] = call.workload.service
        if call.principal is not None:
            attributes["user.id"] = str(call.principal.user_id)
        error = call.code.name if call.code.name in SERVER_FAULTS else None
        self._tracer.end(call.span, error, attributes)


class ClientTrace(ClientLayer):
    """The outermost client layer: its parent is the step, HTTP request or served call of the task."""

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def on_start(self, call: ClientCall) -> None:
        parent = current_trace()
        tracer = self._tracer
        if parent is None and is_mesh_service(call.method):
            return
        if tracer.sample(parent):
            name = call.method.full_name
            attributes = {**_rpc(name), "mesh.target": call.target}
            call.trace, call.span = tracer.start(name, "client", parent, attributes)
        else:
            call.trace = parent or tracer.unsampled()
        call.metadata.append((TRACEPARENT, format_traceparent(call.trace)))

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        if call.span is not None:
            attributes: Attributes = {"rpc.attempt": call.attempts, "rpc.response.status_code": code.name}
            call.span.add_event("attempt", attributes | _endpoint(call.endpoint))

    def on_end(self, call: ClientCall) -> None:
        if call.span is None:
            return
        attributes: Attributes = {"rpc.response.status_code": call.code.name, "rpc.attempts": call.attempts}
        error = None if call.code is _OK else call.code.name
        self._tracer.end(call.span, error, attributes | _endpoint(call.endpoint))


class Step:
    """A span around a piece of code: `with telemetry.span("charge"):`, also around awaits.

    Calls made inside become its children. Entering gives the trace's context.
    """

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        attributes: Attributes,
        *,
        kind: str = "internal",
        parent: TraceContext | None = None,
        force: bool = False,
    ) -> None:
        self._tracer, self._name, self._kind, self._attributes = tracer, name, kind, attributes
        self._parent, self._force = parent, force
        self._span: Any = None

    def __enter__(self) -> "Step":
        tracer = self._tracer
        parent = self._parent or current_trace()
        if tracer.sample(parent, self._force):
            self.trace, self._span = tracer.start(self._name, self._kind, parent, self._attributes)
        else:
            self.trace = parent or tracer.unsampled()
        self._active = Active(self.trace, self._span)
        self._token = active.set(self._active)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: object) -> None:
        self._active.over = True
        active.reset(self._token)
        self.end(kind.__name__ if kind else None)

    def end(self, error: str | None) -> None:
        """Ends the span; `error` names what failed."""
        if self._span is not None:
            self._tracer.end(self._span, error, {})


def _rpc(full_name: str) -> Attributes:
    return {"rpc.system.name": "grpc", "rpc.method": full_name}


def _endpoint(address: str | None) -> Attributes:
    if address is None:
        return {}
    host, _, port = address.rpartition(":")
    return {"server.address": host.strip("[]"), "server.port": int(port)} if port.isdigit() else {}
