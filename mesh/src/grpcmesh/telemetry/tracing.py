"""Tracing layers: one server span per call, and one client span per logical call with an event per attempt.

Sampling is decided where a trace begins, and respected everywhere else, so an unsampled call only forwards
two ids. The rate at which callers can force recording is limited. Attributes follow OpenTelemetry's RPC
conventions (https://opentelemetry.io/docs/specs/semconv/rpc/, `SCHEMA_URL`). Those that the conventions do
not have begin with `mesh.`. Payloads and tokens are never recorded.
"""

import math
import random
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import grpc
from prometheus_client.core import CounterMetricFamily, Metric

from grpcmesh.call import (
    ClientCall,
    ClientLayer,
    Purpose,
    ServerCall,
    ServerLayer,
    TraceContext,
    is_mesh_service,
)
from grpcmesh.telemetry.context import Active, active, current_trace, innermost
from grpcmesh.telemetry.limit import RateLimit
from grpcmesh.telemetry.w3c import (
    BAGGAGE,
    TRACEPARENT,
    TRACESTATE,
    format_traceparent,
    parse_baggage,
    parse_traceparents,
    parse_tracestate,
)

#: The version of OpenTelemetry's conventions that all attributes follow.
SCHEMA_URL = "https://opentelemetry.io/schemas/1.44.0"

_OK = grpc.StatusCode.OK
#: The value of a method that is not known, so that callers cannot create values.
OTHER = "_OTHER"
_GRPC = "grpc"
#: Metadata that an application may send itself, for example forwarded from its caller.
_FORWARDED = frozenset({TRACEPARENT, TRACESTATE, BAGGAGE})
#: Codes for which the server is at fault. Only these mark a server span as an error.
SERVER_FAULTS = frozenset(
    {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
)

Attributes = dict[str, str | int | float | bool]


class Recorder(Protocol):
    """Starts and ends spans; see `grpcmesh.telemetry.spans`. `kind` is `server`, `client` or `internal`."""

    def start(self, name: str, kind: str, parent: TraceContext | None, attributes: Attributes) -> Any: ...

    def context(self, span: Any) -> TraceContext: ...

    def end(self, span: Any, error: str | None, attributes: Attributes) -> None: ...


class Tracer:
    """Decides on sampling, and starts and ends spans.

    Args:
        ratio: Share of new traces that are recorded, from 0 to 1.
        recorder: Records spans. If None, nothing is sampled here, but trace contexts are forwarded.
        rng: Draws ids of unsampled traces, and sampling decisions.
        forced: Limits how often callers may force recording. If None, there is no limit.
    """

    def __init__(
        self, ratio: float, recorder: Recorder | None, rng: random.Random, forced: RateLimit | None = None
    ) -> None:
        self._ratio = ratio
        self._recorder = recorder
        #: Whether spans can be recorded. If not, trace contexts are only forwarded.
        self.records = recorder is not None
        self._rng = rng
        self._forced = forced or RateLimit(math.inf)

    def sample(self, parent: TraceContext | None) -> bool:
        """Return whether to record a part of this process's own work.

        The parent's decision is used. Without a parent, the ratio decides.
        """
        if self._recorder is None:
            return False
        return parent.sampled if parent is not None else self._draw()

    def sample_incoming(self, parent: TraceContext | None, force: bool = False) -> bool:
        """Return whether to record a call or request that a caller sent.

        The caller's decision is used; `force` is a decision to record. Beyond the limit, a decision to record
        is ignored, and the ratio decides.
        """
        if self._recorder is None:
            return False
        if parent is not None and not parent.sampled and not force:
            return False
        asked = force or parent is not None
        return (asked and self._forced.take()) or self._draw()

    def _draw(self) -> bool:
        return self._rng.random() < self._ratio

    def start(
        self, name: str, kind: str, parent: TraceContext | None, attributes: Attributes
    ) -> tuple[TraceContext, Any]:
        """Start a recorded span. Return its trace context and the span.

        Only call it after `sample` or `sample_incoming` returned True.
        """
        assert self._recorder is not None
        span = self._recorder.start(name, kind, parent, attributes)
        trace = self._recorder.context(span)
        return (trace._replace(state=parent.state) if parent is not None and parent.state else trace), span

    def unrecorded(self, parent: TraceContext | None) -> TraceContext:
        """Return the trace context of work that is not recorded: that of the parent, or a new one."""
        if parent is None:
            return self.unsampled()
        if parent.sampled and self._recorder is not None:
            # Its caller wanted it recorded and may not: what follows must not be recorded in pieces.
            span_id = f"{self._rng.getrandbits(64) | 1:016x}"
            return TraceContext(parent.trace_id, span_id, False, parent.state)
        return parent

    def unsampled(self) -> TraceContext:
        """Return a new trace context that is not sampled. Its ids still join log lines across services."""
        bits = self._rng.getrandbits(192) | 1 << 64 | 1  # neither id may be zero
        ids = bits.to_bytes(24, "big").hex()  # half the time of formatting the number
        return TraceContext(ids[:32], ids[32:], False)

    def end(self, span: Any, error: str | None, attributes: Attributes) -> None:
        """End a span. `error`: what failed; None if nothing did."""
        assert self._recorder is not None
        self._recorder.end(span, error, attributes)

    def collect(self) -> Iterable[Metric]:
        """Yield how many calls were recorded because their caller forced it, and how many were limited."""
        family = CounterMetricFamily(
            "mesh_traces_forced", "Calls whose caller asked to record a trace, by outcome.", labels=["result"]
        )
        family.add_metric(["recorded"], self._forced.allowed)
        family.add_metric(["limited"], self._forced.refused)
        yield family


class ServerTrace(ServerLayer):
    """The outermost server layer: sets `call.trace`, and `call.span` if the call is sampled.

    Args:
        tracer: The tracer of the process.
        address: The address of this server, `host:port`.
        trust_domain: Callers of this trust domain and namespace are recorded by their short names.
        namespace: See `trust_domain`.
    """

    observes = True

    def __init__(self, tracer: Tracer, address: str, trust_domain: str, namespace: str) -> None:
        self._tracer = tracer
        self._trust_domain, self._namespace = trust_domain, namespace
        self._address = _endpoint(address)

    def on_start(self, call: ServerCall) -> None:
        tracer, metadata = self._tracer, call.metadata
        parent = parse_traceparents(call.values(TRACEPARENT))
        if parent is None and call.purpose is Purpose.MESH:
            return
        if parent is not None and TRACESTATE in metadata:
            parent = parent._replace(state=parse_tracestate(call.values(TRACESTATE)))
        if BAGGAGE in metadata:
            call.baggage = parse_baggage(call.values(BAGGAGE))
        if not tracer.records:
            call.trace = parent or tracer.unsampled()
        elif tracer.sample_incoming(parent):
            name = call.method.full_name
            attributes = {**_rpc(name), **self._address}
            if call.purpose is Purpose.UNKNOWN:
                name, attributes["rpc.method"] = _GRPC, OTHER
            call.trace, call.span = tracer.start(name, "server", parent, attributes)
        else:
            call.trace = tracer.unrecorded(parent)

    def on_end(self, call: ServerCall) -> None:
        if call.span is None:
            return
        attributes: Attributes = {"rpc.response.status_code": call.code.name}
        if call.workload is not None:
            attributes["mesh.caller"] = call.workload.seen_from(self._trust_domain, self._namespace)
        if call.principal is not None:
            attributes["user.id"] = str(call.principal.user_id)
        error = call.code.name if call.code.name in SERVER_FAULTS else None
        self._tracer.end(call.span, error, attributes)


class ClientTrace(ClientLayer):
    """The outermost client layer. The parent span is the step, HTTP request or served call of the task.

    Args:
        tracer: The tracer of the process.
        takes_baggage: Returns whether W3C baggage is sent to a target. It may hold what outsiders should not
            know.
    """

    def __init__(self, tracer: Tracer, takes_baggage: Callable[[str], bool] = lambda target: True) -> None:
        self._tracer, self._takes_baggage = tracer, takes_baggage

    def on_start(self, call: ClientCall) -> None:
        inner, tracer = innermost(), self._tracer
        parent, baggage = (None, "") if inner is None else (inner.trace, inner.baggage)
        if parent is None and is_mesh_service(call.method):
            return
        if tracer.records and tracer.sample(parent):
            name = call.method.full_name
            attributes = {**_rpc(name), "mesh.target": call.target}
            call.trace, call.span = tracer.start(name, "client", parent, attributes)
        else:
            call.trace = parent or tracer.unsampled()
        self._send(call, call.trace, baggage)

    def _send(self, call: ClientCall, trace: TraceContext, baggage: str) -> None:
        """Add the trace to the metadata, in place of the application's; add baggage unless it has its own."""
        metadata = call.metadata
        for name, _ in metadata:
            if name in _FORWARDED:
                baggage = "" if any(name == BAGGAGE for name, _ in metadata) else baggage
                metadata[:] = [e for e in metadata if e[0] not in (TRACEPARENT, TRACESTATE)]
                break
        metadata.append((TRACEPARENT, format_traceparent(trace)))
        if trace.state:
            metadata.append((TRACESTATE, trace.state))
        if baggage and self._takes_baggage(call.target):
            metadata.append((BAGGAGE, baggage))

    def on_attempt(self, call: ClientCall, code: grpc.StatusCode) -> None:
        if call.span is not None:
            attributes: Attributes = {"mesh.attempt": call.attempts, "rpc.response.status_code": code.name}
            call.span.add_event("attempt", attributes | _endpoint(call.endpoint))

    def on_end(self, call: ClientCall) -> None:
        if call.span is None:
            return
        attributes: Attributes = {"rpc.response.status_code": call.code.name, "mesh.attempts": call.attempts}
        error = None if call.code is _OK else call.code.name
        self._tracer.end(call.span, error, attributes | _endpoint(call.endpoint))


class Step:
    """A span around a piece of code, which may await: `with telemetry.span("charge"):`.

    Calls made inside become its children. `trace` is its trace context.
    """

    def __init__(
        self,
        tracer: Tracer,
        name: str,
        attributes: Attributes,
        *,
        kind: str = "internal",
        baggage: str | None = None,
    ) -> None:
        self._tracer, self._name, self._kind, self._attributes = tracer, name, kind, attributes
        self._baggage = baggage
        self._span: Any = None

    def decide(self) -> tuple[TraceContext | None, bool]:
        """Return the parent, and whether to record."""
        parent = current_trace()
        return parent, self._tracer.sample(parent)

    def __enter__(self) -> "Step":
        tracer = self._tracer
        parent, sampled = self.decide()
        if sampled:
            self.trace, self._span = tracer.start(self._name, self._kind, parent, self._attributes)
        else:
            self.trace = tracer.unrecorded(parent)
        self._active = Active(self.trace, self._span, self._baggage)
        self._token = active.set(self._active)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, stack: object) -> None:
        self._active.over = True
        active.reset(self._token)
        self.end(kind.__name__ if kind else None)

    def end(self, error: str | None) -> None:
        """End the span. `error`: what failed; None if nothing did."""
        if self._span is not None:
            self._tracer.end(self._span, error, {})


def _rpc(full_name: str) -> Attributes:
    return {"rpc.system.name": _GRPC, "rpc.method": full_name}


def _endpoint(address: str | None) -> Attributes:
    if address is None:
        return {}
    host, _, port = address.rpartition(":")
    return {"server.address": host.strip("[]"), "server.port": int(port)} if port.isdigit() else {}
