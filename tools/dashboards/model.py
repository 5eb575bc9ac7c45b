"""What a dashboard consists of, and the selectors that all of them share."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from grpcmesh.telemetry.metrics import CODE_NAMES, FAULTS

#: Every process of the mesh in the namespace chosen above.
ALL = 'job="meshmart", namespace="$namespace"'
#: The same, without what the mesh calls of its own accord: health watches last for hours.
OURS = f'{ALL}, grpc_service!~"grpc[.].+"'
#: Codes that are the callee's failing.
BAD = f'grpc_code=~"{"|".join(CODE_NAMES[name] for name in FAULTS)}"'
#: Grafana's: wide enough for a rate at any zoom.
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
    """What it answers, in a sentence or two."""
    unit: str
    """Grafana's name of it: reqps, s, percentunit, short …"""
    queries: Sequence[Query]
    kind: Literal["graph", "stacked", "table"] = "graph"
    width: int = 8
    """Of 24 columns."""
    exemplars: bool = False
    """Points that lead to a trace; histograms only."""


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard. `service`: whether it shows one service, chosen above."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    service: bool = False
    tags: Sequence[str] = field(default=("meshmart",))


def rate(metric: str, by: str, labels: str = ALL) -> str:
    """The rate of a counter a second, summed by labels."""
    return f"sum by ({by}) (rate({metric}{{{labels}}}[{RATE}]))"


def increase(metric: str, by: str, labels: str = ALL) -> str:
    """How much a counter has grown a step, summed by labels."""
    return f"sum by ({by}) (increase({metric}{{{labels}}}[{RATE}]))"


def quantile(q: float, metric: str, by: str, labels: str) -> str:
    """A quantile of a histogram, in its unit."""
    return f"histogram_quantile({q}, {rate(f'{metric}_bucket', f'le, {by}' if by else 'le', labels)})"


def quantiles(metric: str, by: str, labels: str) -> list[Query]:
    """p50, p95 and p99."""
    name = " ".join(f"{{{{{label.strip()}}}}}" for label in by.split(",")) if by else ""
    return [
        Query(quantile(q, metric, by, labels), f"{name} p{round(100 * q)}".strip()) for q in (0.5, 0.95, 0.99)
    ]


def fault_share(side: str, by: str, labels: str) -> str:
    """The share of calls that ended in a fault, counted at one side (server or client)."""
    faults = rate(f"grpc_{side}_handled_total", by, f"{labels}, {BAD}")
    return f"{faults} / {rate(f'grpc_{side}_handling_seconds_count', by, labels)}"


def in_flight(by: str, labels: str) -> str:
    """Calls that a server has begun and not ended."""
    started = f"sum by ({by}) (grpc_server_started_total{{{labels}}})"
    return f"{started} - sum by ({by}) (grpc_server_handled_total{{{labels}}})"
