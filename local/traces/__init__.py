"""The built-in trace store: receives spans over OTLP/gRPC, keeps the latest in memory, and shows them on a
page.
"""

from local.traces.model import Span, Trace
from local.traces.store import TraceStore

__all__ = ["Span", "Trace", "TraceStore"]
