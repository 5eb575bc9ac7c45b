"""Renders boards as Grafana's JSON with Grafana's own types (grafana-foundation-sdk).

A property that these types lack is not written.
"""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableRefresh,
    VariableSort,
)

from tools.dashboards.model import Board
from tools.dashboards.panels import SOURCE, panel_of

_NAMESPACES = 'label_values(mesh_serving{job="meshmart"}, namespace)'
_SERVICES = 'label_values(mesh_serving{job="meshmart", namespace="$namespace"}, service)'


def render(board: Board) -> str:
    """Return the content of the dashboard's file."""
    built = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(list(board.tags))
        .time("now-30m", "now")
        .refresh("10s")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .link(
            dashboard.DashboardLink("Meshmart")
            .type(DashboardLinkType.DASHBOARDS)
            .tags(["meshmart"])
            .keep_time(True)
            .include_vars(True)
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
    )
    if board.logs:
        built.with_variable(dashboard.DatasourceVariable("loki").label("Logs").type("loki"))
        built.with_variable(dashboard.DatasourceVariable("jaeger").label("Traces").type("jaeger"))
    built.with_variable(_variable("namespace", "Namespace", _NAMESPACES))
    if board.service:
        built.with_variable(_variable("service", "Service", _SERVICES))
    _add_rows(built, board)
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(built.build()) + "\n"


def _add_rows(built: dashboard.Dashboard, board: Board) -> None:
    number = 0
    for row in board.rows:
        heading = dashboard.Row(row.title).id(number := number + 1)
        if row.collapsed:
            heading.collapsed(True)
        for panel in row.panels if row.collapsed else ():
            heading.with_panel(panel_of(panel).id(number := number + 1))
        built.with_row(heading)
        for panel in () if row.collapsed else row.panels:
            built.with_panel(panel_of(panel).id(number := number + 1))


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )
