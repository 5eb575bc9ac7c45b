"""A span as the store keeps it, and its decoding from OTLP."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

#: The names of opentelemetry.proto.trace.v1.Span.SpanKind, in its order.
_KINDS = ("unspecified", "internal", "server", "client", "producer", "consumer")
_STATUS_ERROR = 2


@dataclass(frozen=True, slots=True)
class Event:
    """An event in a span. `time` is in Unix seconds."""

    name: str
    time: float
    attributes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """One finished span.

    Times are in Unix seconds, ids in lower-case hex. `parent_id` is empty for a root.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    service: str
    replica: str
    start: float
    end: float
    error: bool = False
    attributes: Mapping[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()

    @property
    def duration(self) -> float:
        return self.end - self.start


class Trace:
    """The spans of one trace that have arrived so far."""

    def __init__(self, trace_id: str) -> None:
        self.trace_id = trace_id
        self.spans: dict[str, Span] = {}

    @property
    def start(self) -> float:
        return min(span.start for span in self.spans.values())

    @property
    def end(self) -> float:
        return max(span.end for span in self.spans.values())

    @property
    def error(self) -> bool:
        return any(span.error for span in self.spans.values())

    @property
    def root(self) -> Span:
        """Return the earliest span whose parent is not here (the true root may be elsewhere, or late)."""
        return self.tree()[0][0]

    @property
    def services(self) -> list[str]:
        """Return the services in the order of their first appearance."""
        return list(dict.fromkeys(span.service for span, _ in self.tree()))

    def calls(self, caller: str, callee: str) -> bool:
        """Return whether a span of one service has a child of another."""
        return any(
            span.service == callee and (parent := self.spans.get(span.parent_id)) and parent.service == caller
            for span in self.spans.values()
        )

    def tree(self) -> list[tuple[Span, int]]:
        """Return each span with its depth: depth first, siblings ordered by start."""
        children: dict[str, list[Span]] = {}
        for span in sorted(self.spans.values(), key=lambda s: s.start):
            known = span.parent_id in self.spans and span.parent_id != span.span_id
            children.setdefault(span.parent_id if known else "", []).append(span)
        rows = list(_walk(children))
        seen = {span.span_id for span, _ in rows}
        # Spans that name each other as parent have no root; show them nevertheless.
        return rows + [(span, 0) for span in self.spans.values() if span.span_id not in seen]


def _walk(children: Mapping[str, list[Span]]) -> Iterator[tuple[Span, int]]:
    # A stack, not recursion: the sender of the spans decides their depth.
    stack = [(span, 0) for span in reversed(children.get("", ()))]
    while stack:
        span, depth = stack.pop()
        yield span, depth
        stack += [(child, depth + 1) for child in reversed(children.get(span.span_id, ()))]


def decode(request: ExportTraceServiceRequest) -> Iterator[Span]:
    """Yield the spans of an OTLP request."""
    for group in request.resource_spans:
        resource = _attributes(group.resource.attributes)
        service = str(resource.get("service.name", "unknown"))
        replica = str(resource.get("service.instance.id", ""))
        for scope in group.scope_spans:
            for span in scope.spans:
                yield _span(span, service, replica)


def _span(span: Any, service: str, replica: str) -> Span:
    return Span(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_id=span.parent_span_id.hex(),
        name=span.name,
        kind=_KINDS[span.kind] if span.kind < len(_KINDS) else _KINDS[0],
        service=service,
        replica=replica,
        start=span.start_time_unix_nano / 1e9,
        end=span.end_time_unix_nano / 1e9,
        error=span.status.code == _STATUS_ERROR,
        attributes=_attributes(span.attributes),
        events=tuple(Event(e.name, e.time_unix_nano / 1e9, _attributes(e.attributes)) for e in span.events),
    )


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    match kind:
        case None:
            return None
        case "array_value":
            return [_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return _attributes(value.kvlist_value.values)
        case "bytes_value":
            return value.bytes_value.hex()
        case _:
            return getattr(value, kind)
