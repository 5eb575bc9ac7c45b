"""A recorder that keeps spans in a list, and calls and requests that pass through the tracing layers."""

import random
from collections.abc import Sequence
from typing import Any

from grpcmesh.call import (
    ClientCall,
    Kind,
    Method,
    Purpose,
    ServerCall,
    TraceContext,
)
from grpcmesh.telemetry import (
    TraceMiddleware,
)
from grpcmesh.telemetry.tracing import ClientTrace, ServerTrace, Tracer
from tests.unit.fakes import FakeContext

GET = Method.parse("/ecommerce.ProductService/GetProduct", Kind.UNARY)
HEALTH = Method.parse("/grpc.health.v1.Health/Watch", Kind.SERVER_STREAM)
SAMPLED = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", True)
UNSAMPLED = TraceContext("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", False)


class FakeSpan:
    def __init__(
        self, name: str, kind: str, parent: TraceContext | None, attributes: dict[str, Any], n: int
    ) -> None:
        self.name, self.kind, self.parent, self.attributes = name, kind, parent, dict(attributes)
        self.trace = TraceContext(parent.trace_id if parent else f"{n:032x}", f"{n:016x}", True)
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.error: str | None = None
        self.ended = False

    def add_event(self, name: str, attributes: dict[str, Any]) -> None:
        self.events.append((name, attributes))

    def set_attributes(self, attributes: dict[str, Any]) -> None:
        self.attributes |= attributes

    def update_name(self, name: str) -> None:
        self.name = name


class ListRecorder:
    """A `Recorder` that keeps spans in a list. Integration tests cover the SDK's recorder."""

    def __init__(self) -> None:
        self.spans: list[FakeSpan] = []

    def start(
        self, name: str, kind: str, parent: TraceContext | None, attributes: dict[str, Any]
    ) -> FakeSpan:
        self.spans.append(FakeSpan(name, kind, parent, attributes, len(self.spans) + 1))
        return self.spans[-1]

    def context(self, span: FakeSpan) -> TraceContext:
        return span.trace

    def end(self, span: FakeSpan, error: str | None, attributes: dict[str, Any]) -> None:
        span.set_attributes(attributes)
        span.error, span.ended = error, True


def tracer(recorder: ListRecorder | None, ratio: float = 1.0) -> Tracer:
    return Tracer(ratio, recorder, random.Random(1))


def serve(layer: ServerTrace, header: str | None = None, method: Method = GET) -> ServerCall:
    purpose = Purpose.MESH if method is HEALTH else Purpose.APPLICATION
    metadata = (("traceparent", header),) if header else ()
    context: Any = FakeContext(metadata=metadata)
    call = ServerCall(method, context, 0.0, dict(metadata), purpose)
    layer.on_start(call)
    return call


def send(layer: ClientTrace, method: Method = GET) -> ClientCall:
    call = ClientCall(method, "product", 0.0)
    layer.on_start(call)
    return call


class Web:
    """An ASGI app that makes one mesh call, and the messages it sent."""

    def __init__(self, layer: Tracer, status: int = 200) -> None:
        self._layer, self._status = layer, status
        self.sent: list[Any] = []
        self.calls: list[ClientCall] = []

    async def __call__(self, scope: Any, receive: Any, send_message: Any) -> None:
        self.calls.append(send(ClientTrace(self._layer)))
        scope["route"] = type("Route", (), {"path": "/products/{id}"})
        await send_message({"type": "http.response.start", "status": self._status, "headers": []})

    async def request(
        self,
        force: bool = False,
        header: str = "",
        more: Sequence[tuple[bytes, bytes]] = (),
        baggage: bool = False,
        method: str = "GET",
    ) -> None:
        scope = {
            "type": "http",
            "method": method,
            "path": "/products/1",
            "query_string": b"token=secret",
            "headers": [*([(b"traceparent", header.encode())] if header else []), *more],
        }

        async def keep(message: Any) -> None:
            self.sent.append(message)

        middleware = TraceMiddleware(self, self._layer, lambda scope: force, baggage=baggage)
        await middleware(scope, None, keep)  # type: ignore[arg-type]
