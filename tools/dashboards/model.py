"""The parts of a dashboard, and the label selectors that all dashboards share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from grpcmesh.telemetry.metrics import CODE_NAMES, FAULTS

#: Every process of the mesh in the namespace chosen in the dashboard.
ALL = 'job="meshmart", namespace="$namespace"'
#: The same, without the mesh's own calls: health watches last for hours.
OURS = f'{ALL}, grpc_service!~"grpc[.].+"'
#: Status codes that are the callee's fault.
BAD = f'grpc_code=~"{"|".join(CODE_NAMES[name] for name in FAULTS)}"'
#: Grafana's variable: an interval wide enough for a rate at any zoom.
RATE = "$__rate_interval"


@dataclass(frozen=True)
class Query:
    """One PromQL expression; `legend` names its series, such as `{{service}}`."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One graph, figure or table."""

    title: str
    about: str
    """What it shows, in a sentence or two."""
    unit: str
    """Grafana's name of the unit: reqps, s, percentunit, short …"""
    queries: Sequence[Query]
    kind: Literal["graph", "stacked", "table"] = "graph"
    width: int = 8
    """The width, of 24 columns."""
    exemplars: bool = False
    """Whether to show exemplars, points that lead to a trace; for histograms only."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard. `service` is whether it shows one service, which is chosen in the dashboard."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    service: bool = False
    tags: Sequence[str] = field(default=("meshmart",))


def rate(metric: str, by: str, labels: str = ALL) -> str:
    """Return the per-second rate of a counter, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{RATE}]))"


def increase(metric: str, by: str, labels: str = ALL) -> str:
    """Return the increase of a counter per step, summed by labels."""
    return f"sum by ({by}) (increase({metric}{{{labels}}}[{RATE}]))"


def quantile(q: float, metric: str, by: str, labels: str) -> str:
    """Return a quantile of a histogram, in its unit."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le', labels)})"


def quantiles(metric: str, by: str, labels: str) -> list[Query]:
    """Return the queries for p50, p95 and p99."""
    name = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) if by else ""
    return [
        Query(quantile(q, metric, by, labels), f"{name} p{round(100 * q)}".strip()) for q in (0.5, 0.95, 0.99)
    ]


def fault_share(side: str, by: str, labels: str) -> str:
    """Return the share of calls that ended in a fault, counted at one side (server or client)."""
    faults = rate(f"grpc_{side}_handled_total", by, f"{labels}, {BAD}")
    return f"{faults} / {rate(f'grpc_{side}_handling_seconds_count', by, labels)}"


def in_flight(by: str, labels: str) -> str:
    """Return the number of calls that a server has begun and not ended."""
    started = f"sum by ({by}) (grpc_server_started_total{{{labels}}})"
    return f"{started} - sum by ({by}) (grpc_server_handled_total{{{labels}}})"
