"""The built-in trace store: takes spans over OTLP/gRPC, keeps the latest in memory, shows them as a page."""

from local.traces.model import Span, Trace
from local.traces.store import TraceStore

__all__ = ["Span", "Trace", "TraceStore"]
