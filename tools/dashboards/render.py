"""Renders boards as Grafana's JSON with Grafana's own types (grafana-foundation-sdk).

A property that these types lack is not written.
"""

from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tools.dashboards.model import Board, Panel, Query

#: The Prometheus chosen in the dashboard.
_SOURCE = DataSourceRef("prometheus", "${datasource}")
_HEIGHT = 8
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
        )
        .with_variable(dashboard.DatasourceVariable("datasource").label("Prometheus").type("prometheus"))
        .with_variable(_variable("namespace", "Namespace", _NAMESPACES))
    )
    if board.service:
        built.with_variable(_variable("service", "Service", _SERVICES))
    number = 0
    for row in board.rows:
        built.with_row(dashboard.Row(row.title).id(number := number + 1))
        for panel in row.panels:
            built.with_panel(_panel(panel).id(number := number + 1))
    return JSONEncoder(sort_keys=True, indent=2, ensure_ascii=False).encode(built.build()) + "\n"


def _variable(name: str, label: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(_SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
    )


def _panel(panel: Panel) -> Any:
    built = _table() if panel.kind == "table" else _graph(panel)
    built.title(panel.title).description(panel.about).datasource(_SOURCE).unit(panel.unit)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        built.with_target(_target(letter, query, panel))
    return built.span(panel.width).height(_HEIGHT)


def _target(letter: str, query: Query, panel: Panel) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(letter).expr(query.expr)
    if panel.kind == "table":
        return target.instant().format(PromQueryFormat.TABLE)
    return target.range().legend_format(query.legend).exemplar(panel.exemplars)


def _graph(panel: Panel) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .min(0)
        .line_width(1)
        .fill_opacity(20 if panel.kind == "stacked" else 5)
        .legend(
            common.VizLegendOptions()
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
            .show_legend(True)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.kind == "stacked":
        graph.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return graph


def _table() -> table.Panel:
    return table.Panel()
