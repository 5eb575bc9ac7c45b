"""Telemetry: metrics, traces and logs. `Telemetry` puts them together; see docs/mesh/telemetry.md."""

from mesh.telemetry.context import annotate, current_span, current_trace
from mesh.telemetry.http import TraceMiddleware
from mesh.telemetry.http_metrics import HttpMetrics, MetricsMiddleware
from mesh.telemetry.logs import Logger
from mesh.telemetry.registry import Source
from mesh.telemetry.telemetry import Telemetry
from mesh.telemetry.writer import LineWriter

__all__ = [
    "HttpMetrics",
    "LineWriter",
    "Logger",
    "MetricsMiddleware",
    "Source",
    "Telemetry",
    "TraceMiddleware",
    "annotate",
    "current_span",
    "current_trace",
]
