"""Builds the panels of each kind with Grafana's own types."""

from typing import Any

from grafana_foundation_sdk.builders import (
    common,
    gauge,
    logs,
    loki,
    nodegraph,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import UnknownDataquery
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import DynamicConfigValue
from grafana_foundation_sdk.models.loki import LokiQueryType
from grafana_foundation_sdk.models.nodegraph import ArcOption
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from tools.dashboards.fields import data_link, override, panel_links, states, thresholds
from tools.dashboards.frames import ARCS, edges_table, node_graph
from tools.dashboards.model import Color, Panel, Query, Steps

#: The Prometheus, the log source and the trace store that are chosen in the dashboard.
SOURCE = DataSourceRef("prometheus", "${datasource}")
_SOURCES = {"logs": DataSourceRef("loki", "${loki}"), "traces": DataSourceRef("jaeger", "${jaeger}")}
_PLAIN: Steps = (Color.BLUE,)


def panel_of(panel: Panel) -> Any:
    """Return the builder of the panel."""
    built: Any = _KINDS[panel.kind](panel)
    built.title(panel.title).description(panel.about).unit(panel.unit)
    built.datasource(_SOURCES.get(panel.kind, SOURCE))
    letters = iter("ABCDEFGHIJKL")
    for query in panel.queries:
        built.with_target(_target(query.ref or next(letters), query, panel))
    if links := panel_links(panel):
        built.links(links)
    if every := panel.on.get(""):
        built.data_links([data_link(every)])
    return built.span(panel.width).height(panel.height)


def _target(ref: str, query: Query, panel: Panel) -> Any:
    match panel.kind:
        case "logs":
            lines = loki.Dataquery().ref_id(ref).expr(query.expr).query_type(LokiQueryType.RANGE)
            return lines.max_lines(200)
        case "traces":
            return _Search(ref, query.expr)
    target = prometheus.Dataquery().ref_id(ref).expr(query.expr)
    match panel.kind:
        case "table" | "nodes":
            return target.instant().format(PromQueryFormat.TABLE)
        case "stat" | "gauge":
            return target.instant().legend_format(query.legend)
    return target.range().legend_format(query.legend).exemplar(panel.exemplars)


class _Search:
    """A search of Jaeger for the traces of a service; the SDK has no type of it.

    Source: `JaegerQuery` in Grafana's public/app/plugins/datasource/jaeger/types.ts.
    """

    def __init__(self, ref: str, service: str) -> None:
        self._query = {"refId": ref, "queryType": "search", "service": service, "limit": 20}

    def build(self) -> UnknownDataquery:
        return UnknownDataquery(dict(self._query))


def _graph(panel: Panel) -> timeseries.Panel:
    graph = (
        timeseries.Panel()
        .min(0)
        .line_width(1)
        .fill_opacity(20 if panel.kind == "stacked" else 5)
        .legend(_legend(shown=True))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )
    if panel.kind == "stacked":
        graph.stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    return graph


def _legend(*, shown: bool) -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .display_mode(LegendDisplayMode.LIST)
        .placement(LegendPlacement.BOTTOM)
        .show_legend(shown)
    )


def _stat(panel: Panel) -> stat.Panel:
    several = len(panel.queries) > 1
    built = (
        stat.Panel()
        .reduce_options(_last())
        .thresholds(thresholds(panel.steps or _PLAIN))
        .color_mode(BigValueColorMode.BACKGROUND if panel.steps else BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .text_mode(BigValueTextMode.VALUE_AND_NAME if several else BigValueTextMode.VALUE)
    )
    _override(built, panel)
    return built


def _gauge(panel: Panel) -> gauge.Panel:
    top = panel.top or (1 if panel.unit == "percentunit" else None)
    built = gauge.Panel().reduce_options(_last()).min(0).show_threshold_markers(True)
    if top is not None:
        built.max(top)
    return built.thresholds(thresholds(panel.steps or _PLAIN))


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False)


def _timeline(panel: Panel) -> statetimeline.Panel:
    steps = panel.steps or _PLAIN
    return (
        statetimeline.Panel()
        .thresholds(thresholds(steps))
        .mappings(states(steps, panel.texts))
        .show_value(VisibilityMode.AUTO)
        .row_height(0.8)
        .merge_values(True)
        .legend(_legend(shown=False))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.SINGLE))
    )


def _nodes(panel: Panel) -> nodegraph.Panel:
    arcs: list[Builder[ArcOption]] = [
        nodegraph.ArcOption().field(name).color(color) for name, color in ARCS.items()
    ]
    units = {column.title: column.unit for column in panel.columns}
    options = nodegraph.NodeOptions().main_stat_unit(units["mainstat"]).arcs(arcs)
    built = nodegraph.Panel().nodes(options.secondary_stat_unit(units["secondarystat"]))
    built.edges(nodegraph.EdgeOptions().main_stat_unit("reqps").secondary_stat_unit("percentunit"))
    built.transformations(node_graph(panel))
    _override(built, panel)
    return built


def _table(panel: Panel) -> table.Panel:
    built = table.Panel()
    if panel.columns:
        built.transformations(edges_table(panel))
    _override(built, panel)
    return built


def _override(built: Any, panel: Panel) -> None:
    """Give single columns their units, thresholds and links."""
    for column in panel.columns:
        if panel.kind != "nodes" or column.title.startswith("detail__"):
            built.override_by_name(column.title, override(column, panel.kind))
    for name, link in panel.on.items():
        if name:
            built.override_by_name(name, [DynamicConfigValue("links", [data_link(link).build()])])


def _logs(_: Panel) -> logs.Panel:
    return (
        logs.Panel()
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(LogsSortOrder.DESCENDING)
    )


def _traces(_: Panel) -> table.Panel:
    return table.Panel()


_KINDS = {
    "graph": _graph,
    "stacked": _graph,
    "table": _table,
    "stat": _stat,
    "gauge": _gauge,
    "timeline": _timeline,
    "nodes": _nodes,
    "logs": _logs,
    "traces": _traces,
}
