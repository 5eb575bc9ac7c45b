"""Telemetry: metrics, traces and logs. `Telemetry` combines them.

May be imported by `grpcmesh.client`, `grpcmesh.server`, `grpcmesh.member`, `grpcmesh.mesh`, `grpcmesh.asgi`,
`grpcmesh.settings`, `grpcmesh.commands`, `services`, `local`, `meshmart`, `tools`. Start reading in
`telemetry`. See mesh/docs/telemetry.md.
"""

from grpcmesh.telemetry.context import (
    annotate,
    current_baggage,
    current_span,
    current_trace,
    detached_context,
)
from grpcmesh.telemetry.http import TraceMiddleware
from grpcmesh.telemetry.http_metrics import HttpMetrics, MetricsMiddleware
from grpcmesh.telemetry.logs import Logger
from grpcmesh.telemetry.registry import Source
from grpcmesh.telemetry.telemetry import Telemetry
from grpcmesh.telemetry.writer import LineWriter

__all__ = [
    "HttpMetrics",
    "LineWriter",
    "Logger",
    "MetricsMiddleware",
    "Source",
    "Telemetry",
    "TraceMiddleware",
    "annotate",
    "current_baggage",
    "current_span",
    "current_trace",
    "detached_context",
]
