"""An ASGI middleware that begins a trace for each HTTP request."""

import os
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from grpcmesh.call import TraceContext
from grpcmesh.telemetry.context import current_trace
from grpcmesh.telemetry.tracing import OTHER, Attributes, Step, Tracer
from grpcmesh.telemetry.w3c import (
    BAGGAGE,
    TRACEPARENT,
    TRACESTATE,
    parse_baggage,
    parse_traceparents,
    parse_tracestate,
)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class TraceMiddleware:
    """Makes a span for each request. Mesh calls made during the request become its children.

    If the request has a `traceparent` header, the span continues that trace, and the sampled flag forces it
    to be recorded. Each response carries `x-trace-id`.

    Args:
        app: The wrapped application.
        tracer: Records the spans, such as `telemetry.tracer`.
        force: Returns whether to record a request whatever the sample ratio, such as
            `lambda scope: scope["method"] == "POST"`. `MESH_TELEMETRY_MAX_FORCED_TRACES` limits traces that
            are forced in this way, or by a caller's flag.
        baggage: Whether to accept and forward a `baggage` header. Do not set it if anybody can send requests.
    """

    def __init__(
        self,
        app: App,
        tracer: Tracer,
        force: Callable[[Scope], bool] = lambda scope: False,
        *,
        baggage: bool = False,
    ) -> None:
        self._app, self._tracer, self._force, self._baggage = app, tracer, force, baggage

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = HttpSpan(self._tracer, scope, self._force(scope), self._baggage)
        with request:
            await self._app(scope, receive, request.sender(send))


#: OpenTelemetry's variable for the methods that are known, which replaces the list: case-sensitive, separated
#: by commas (https://opentelemetry.io/docs/specs/semconv/http/http-spans/).
KNOWN_METHODS = "OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS"
#: Those of RFC 9110 and RFC 5789, and QUERY.
_STANDARD = ("CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY", "TRACE")


def known_methods(environ: Mapping[str, str]) -> frozenset[str]:
    """Return the methods that are recorded as they are. If the variable names none, those of the RFCs are."""
    named = [method.strip() for method in environ.get(KNOWN_METHODS, "").split(",")]
    return frozenset(filter(None, named)) or frozenset(_STANDARD)


#: Methods that are recorded as they are. Any other is `_OTHER`.
METHODS = known_methods(os.environ)


class HttpSpan(Step):
    """The span of one HTTP request, after OpenTelemetry's HTTP conventions. The query is not recorded."""

    def __init__(self, tracer: Tracer, scope: Scope, force: bool, baggage: bool = False) -> None:
        brought = parse_baggage(_headers(scope, BAGGAGE)) if baggage else ""
        super().__init__(tracer, _name(scope), _attributes(scope), kind="server", baggage=brought)
        self._scope, self._force = scope, force
        self._status = 0

    def decide(self) -> tuple[TraceContext | None, bool]:
        parent = _parent(self._scope)
        return parent or current_trace(), self._tracer.sample_incoming(parent, self._force)

    def sender(self, send: Send) -> Send:
        """Return a wrapper of `send` that records the status and adds the trace id to the response."""

        async def send_with_trace(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._status = message["status"]
                header = (b"x-trace-id", self.trace.trace_id.encode())
                message = {**message, "headers": [*message.get("headers", ()), header]}
            await send(message)

        return send_with_trace

    def end(self, error: str | None) -> None:
        if self._span is None:
            return
        # Starlette notes the route in the scope once it has matched: a name with few values.
        route = getattr(self._scope.get("route"), "path", None)
        attributes: Attributes = {}
        if self._status:
            attributes["http.response.status_code"] = self._status
        if route:
            attributes["http.route"] = route
            self._span.update_name(f"{self._name} {route}")
        if error is None and self._status >= 500:
            error = str(self._status)
        self._tracer.end(self._span, error, attributes)


def _name(scope: Scope) -> str:
    return scope["method"] if scope["method"] in METHODS else "HTTP"


def _attributes(scope: Scope) -> Attributes:
    method = scope["method"]
    attributes: Attributes = {
        "http.request.method": method,
        "url.path": scope["path"],
        "url.scheme": scope.get("scheme", "http"),
    }
    if method not in METHODS:
        attributes |= {"http.request.method": OTHER, "http.request.method_original": method}
    return attributes


def _parent(scope: Scope) -> TraceContext | None:
    """Return the trace in the request's headers, or None. More than one `traceparent` counts as malformed."""
    parent = parse_traceparents(_headers(scope, TRACEPARENT))
    states = _headers(scope, TRACESTATE) if parent is not None else ()
    return parent._replace(state=parse_tracestate(states)) if parent is not None and states else parent


def _headers(scope: Scope, name: str) -> list[bytes]:
    wanted = name.encode()
    return [value for key, value in scope["headers"] if key.lower() == wanted]
