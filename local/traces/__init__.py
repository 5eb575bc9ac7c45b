"""The built-in trace store: receives spans over OTLP/gRPC, keeps the latest in memory, and shows them on a
page.

It runs as a process of its own. May be imported by nothing. Start reading in `store`.
"""

from local.traces.model import Span, Trace
from local.traces.store import TraceStore

__all__ = ["Span", "Trace", "TraceStore"]
