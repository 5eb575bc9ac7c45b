"""The parts of a dashboard, and the label selectors that all dashboards share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from grpcmesh.telemetry.metrics import CODE_NAMES, FAULTS

#: Every process of the mesh in the namespace chosen in the dashboard.
ALL = 'job="meshmart", namespace="$namespace"'
#: The same, without the mesh's own calls: health watches last for hours.
OURS = f'{ALL}, grpc_service!~"grpc[.].+"'
#: Calls that have a latency: streams last as long as they are wanted.
UNARY = f'{OURS}, grpc_type="unary"'
#: Recorded series have no `job`.
HERE = '{namespace="$namespace"}'
#: Status codes that are the callee's fault.
BAD = f'grpc_code=~"{"|".join(CODE_NAMES[name] for name in FAULTS)}"'
#: Status codes of HTTP that are the server's fault; 0 is a response that never began.
HTTP_BAD = 'http_response_status_code=~"[05].*"'
#: Without requests that matched no route, and pages that follow an order: those last for minutes.
PAGES = f'{ALL}, http_route!~"|/static/.*|.*/events|/healthz"'
#: Grafana's variable: an interval wide enough for a rate at any zoom.
RATE = "$__rate_interval"


#: Where the runbooks of the alerts are, and the part of the page that is one alert's.
_RUNBOOKS = "https://github.com/meshmart/meshmart/blob/main/docs/operations.md#"


class Color(StrEnum):
    """Colors of Grafana's palette, which has a shade of each for light and for dark."""

    GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"


#: Thresholds: the color below the first bound, then each bound with the color from there on.
Steps = tuple[Color, *tuple[tuple[float, Color], ...]]
#: Of a number that should be 0, and of a rate: averaged, that is never exactly 0.
ANY: Steps = (Color.GREEN, (1, Color.ORANGE))
SOME: Steps = (Color.GREEN, (0.001, Color.ORANGE))


@dataclass(frozen=True)
class Query:
    """One expression of PromQL, or of LogQL in a panel of logs; `legend` names its series, such as
    `{{service}}`.
    """

    expr: str
    legend: str
    ref: str = ""
    """Its name within the panel. By default a letter."""


@dataclass(frozen=True)
class Link:
    """A link to a dashboard, which keeps the time range, the data source and the namespace."""

    title: str
    uid: str = ""
    service: str = ""
    """The service that the dashboard shows, such as `${__data.fields.target}`."""
    alert: str = ""
    """An alert: the link leads to its rule instead, where Grafana has links to its runbook and dashboard."""


@dataclass(frozen=True)
class Column:
    """A column of a table, or a field of a node graph, made of the values of one query."""

    query: str
    """The query's `ref`."""
    title: str
    unit: str = "short"
    steps: Steps | None = None


@dataclass(frozen=True)
class Panel:
    """One graph, figure or table."""

    title: str
    about: str
    """What it shows, in a sentence or two."""
    unit: str
    """Grafana's name of the unit: reqps, s, percentunit, short …"""
    queries: Sequence[Query]
    kind: Literal["graph", "stacked", "table", "stat", "gauge", "timeline", "nodes", "logs", "traces"] = (
        "graph"
    )
    width: int = 8
    """The width, of 24 columns."""
    exemplars: bool = False
    """Whether to show exemplars, points that lead to a trace; for histograms only."""
    height: int = 8
    top: float | None = None
    """Where a gauge ends; by default at 1 if it shows a share."""
    steps: Steps | None = None
    """The thresholds of a stat, a gauge or a timeline."""
    texts: Mapping[float, str] = field(default_factory=dict)
    """What a timeline writes, from each value on."""
    columns: Sequence[Column] = ()
    """The columns of a table whose queries are joined, or the fields of a node graph."""
    runbooks: Sequence[str] = ()
    """The alerts about what it shows: each has a link to its runbook."""
    links: Sequence[Link] = ()
    """Links of the panel."""
    on: Mapping[str, Link] = field(default_factory=dict)
    """Links of single values, by the field's name; "" is every field."""


@dataclass(frozen=True)
class Row:
    """Panels under a heading. A collapsed row asks nothing until somebody opens it."""

    title: str
    panels: Sequence[Panel]
    collapsed: bool = False


@dataclass(frozen=True)
class Board:
    """A dashboard. `service` is whether it shows one service, which is chosen in the dashboard; `logs` is
    whether it has panels of logs and traces, whose data sources are chosen, too.
    """

    uid: str
    title: str
    about: str
    rows: Sequence[Row]
    service: bool = False
    logs: bool = False
    tags: Sequence[str] = field(default=("meshmart",))


def figure(title: str, about: str, unit: str, expr: str, steps: Steps, runbooks: Sequence[str] = ()) -> Panel:
    """Return a figure that takes its color from its thresholds; six of them fill the width."""
    query = Query(expr, title.lower())
    return Panel(title, about, unit, [query], kind="stat", width=4, height=4, steps=steps, runbooks=runbooks)


def runbook(alert: str) -> str:
    """Return the address of an alert's runbook."""
    return _RUNBOOKS + alert.lower()


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
