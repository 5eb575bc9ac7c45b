"""Telemetry: metrics, traces and logs. `Telemetry` puts them together; see docs/mesh/telemetry.md."""

from mesh.telemetry.context import annotate, current_span, current_trace
from mesh.telemetry.logs import LineWriter, Logger
from mesh.telemetry.registry import Source
from mesh.telemetry.telemetry import Telemetry

__all__ = ["LineWriter", "Logger", "Source", "Telemetry", "annotate", "current_span", "current_trace"]
