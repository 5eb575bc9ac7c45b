"""TraceStore: the latest traces in memory. Pure: no sockets, no clock."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from local.traces.model import Span, Trace


@dataclass(frozen=True)
class Query:
    """The conditions of a search for traces. An empty field is no condition."""

    service: str = ""
    """A service that took part."""
    caller: str = ""
    """A service that called `service`: a span of it has a child of that one."""
    replica: str = ""
    """A replica that took part."""
    attributes: tuple[tuple[str, str], ...] = ()
    """Attributes that spans of the trace must have, compared as text."""
    error: bool = False
    """Only traces with a failed span."""
    min_seconds: float = 0.0
    """Only traces that took at least this many seconds."""

    def matches(self, trace: Trace) -> bool:
        spans = trace.spans.values()
        return (
            (not self.service or any(span.service == self.service for span in spans))
            and (not self.replica or any(span.replica == self.replica for span in spans))
            and (not self.caller or trace.calls(self.caller, self.service))
            and (not self.error or trace.error)
            and trace.end - trace.start >= self.min_seconds
            and all(any(_has(span, key, value) for span in spans) for key, value in self.attributes)
        )


def _has(span: Span, key: str, value: str) -> bool:
    return key in span.attributes and str(span.attributes[key]) == value


class TraceStore:
    """A bounded store of traces: the one that has been unchanged for longest is evicted first.

    Args:
        max_traces: The most traces kept.
        max_spans: The most spans kept over all traces.
        max_trace_spans: The most spans kept of one trace; further ones are counted and dropped.

    Attributes:
        dropped: The number of spans that were not kept.
        evicted: The number of traces that were evicted.
    """

    def __init__(self, max_traces: int = 5000, max_spans: int = 100_000, max_trace_spans: int = 2000) -> None:
        self._max_traces, self._max_spans, self._max_trace_spans = max_traces, max_spans, max_trace_spans
        self._traces: OrderedDict[str, Trace] = OrderedDict()
        self.spans = self.dropped = self.evicted = 0

    def __len__(self) -> int:
        return len(self._traces)

    def __repr__(self) -> str:
        counts = f"spans={self.spans}, dropped={self.dropped}, evicted={self.evicted}"
        return f"TraceStore(traces={len(self)}, {counts})"

    def add(self, spans: Iterable[Span]) -> None:
        """Add spans in any order. A span that arrives twice counts once."""
        for span in spans:
            self._add(span)
        while len(self._traces) > self._max_traces or self.spans > self._max_spans:
            _, oldest = self._traces.popitem(last=False)
            self.spans -= len(oldest.spans)
            self.evicted += 1

    def _add(self, span: Span) -> None:
        trace = self._traces.setdefault(span.trace_id, Trace(span.trace_id))
        self._traces.move_to_end(span.trace_id)
        if span.span_id in trace.spans:
            return
        if len(trace.spans) >= self._max_trace_spans:
            self.dropped += 1
            return
        trace.spans[span.span_id] = span
        self.spans += 1

    def get(self, trace_id: str) -> Trace | None:
        """Return the trace, or None if it never arrived or was evicted."""
        return self._traces.get(trace_id.lower())

    def find(self, query: Query, limit: int) -> list[Trace]:
        """Return up to `limit` traces that match, the newest first."""
        return [trace for trace, _ in zip(self._matching(query), range(limit), strict=False)]

    def _matching(self, query: Query) -> Iterator[Trace]:
        return (trace for trace in reversed(self._traces.values()) if query.matches(trace))

    def services(self) -> list[str]:
        """Return every service in the traces kept."""
        return sorted({span.service for trace in self._traces.values() for span in trace.spans.values()})
