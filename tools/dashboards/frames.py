"""Turns the answers of several queries into one table, or into the two tables of a node graph.

A node graph draws two frames: its nodes, with `id`, and its edges, with `id`, `source` and `target`; the
other fields are `title`, `mainstat`, `secondarystat`, `arc__…`, `detail__…`, `color` and `thickness`, as in
Grafana's `NodeGraphDataFrameFieldNames`. Prometheus answers a query with a frame of the labels and of
`Value #REF`. So the queries make labels of the ids, and `merge` joins the frames.
"""

from collections.abc import Mapping

from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, MatcherConfig

from tools.dashboards.model import Color, Panel

#: The fields of a node that are drawn as parts of its circle, and their colors. Their sum is 1.
ARCS: Mapping[str, str] = {"arc__ok": Color.GREEN, "arc__failed": Color.RED}
#: Labels that the frames have beside those that are shown.
_DROPPED = {"Time": True, "service": True}


def node_graph(panel: Panel) -> list[DataTransformerConfig]:
    """Join the queries `nodes_…` and those `edges_…`, and name their values.

    The graph reads the true names of fields, and `organize` gives only a name to display
    (https://github.com/grafana/grafana/issues/54844). So a value is calculated, from itself and 0, into a
    field of the wanted name.
    """
    named = [_calculated(value, title) for value, title in _titles(panel).items()]
    dropped = _DROPPED | dict.fromkeys(_titles(panel), True)
    return [_merge("/^nodes_/"), _merge("/^edges_/"), *named, _organize(dropped, {})]


def edges_table(panel: Panel) -> list[DataTransformerConfig]:
    """Join all queries into one table of callers and targets."""
    names = {"source": "Caller", "target": "Target"} | _titles(panel)
    dropped = _DROPPED | {"id": True, "color": True}
    return [_merge(), _organize(dropped, names, {name: i for i, name in enumerate(names)})]


def _titles(panel: Panel) -> dict[str, str]:
    return {f"Value #{column.query}": column.title for column in panel.columns}


def _merge(refs: str = "") -> DataTransformerConfig:
    chosen = MatcherConfig("byRefId", refs) if refs else None
    return DataTransformerConfig("merge", filter_val=chosen, options={})


def _calculated(value: str, name: str) -> DataTransformerConfig:
    binary = {
        "left": {"matcher": {"id": "byName", "options": value}},
        "operator": "+",
        "right": {"fixed": "0"},
    }
    return DataTransformerConfig(
        "calculateField", options={"mode": "binary", "binary": binary, "alias": name}
    )


def _organize(
    dropped: Mapping[str, bool], names: Mapping[str, str], places: Mapping[str, int] | None = None
) -> DataTransformerConfig:
    options = {"excludeByName": dropped, "renameByName": names, "indexByName": places or {}}
    return DataTransformerConfig("organize", options=options)
