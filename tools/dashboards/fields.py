"""What is said of single values: thresholds, states, units and links."""

from collections.abc import Mapping

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DashboardRangeMapOptions,
    DynamicConfigValue,
    RangeMap,
    Threshold,
    ThresholdsMode,
    ValueMapping,
    ValueMappingResult,
)

from tools.dashboards.model import Color, Column, Link, Panel, Steps, runbook

#: Kept by every link. Grafana encodes them.
_KEPT = "${datasource:queryparam}&${namespace:queryparam}&${__url_time_range}"


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    """Return thresholds as Grafana has them: the first begins at minus infinity, which it writes as null."""
    first, *others = steps
    built = [Threshold(None, first), *(Threshold(bound, color) for bound, color in others)]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(built)


def states(steps: Steps, texts: Mapping[float, str]) -> list[ValueMapping]:
    """Return the text and color of each range of values: from a key of `texts` up to the next one."""
    bounds = sorted(texts)
    found: list[ValueMapping] = []
    for i, (low, high) in enumerate(zip(bounds, [*bounds[1:], None], strict=True)):
        # Both ends of Grafana's ranges are inclusive.
        top = None if high is None else high - 1e-6
        result = ValueMappingResult(text=texts[low], color=_color(steps, low), index=i)
        found.append(RangeMap(DashboardRangeMapOptions(low, top, result)))
    return found


def _color(steps: Steps, value: float) -> Color:
    first, *others = steps
    return [first, *(color for bound, color in others if bound <= value)][-1]


def override(column: Column, kind: str) -> list[DynamicConfigValue]:
    """Return the unit and the thresholds of a column, for this kind of panel."""
    properties = [DynamicConfigValue("unit", column.unit)]
    if column.title.startswith("detail__"):
        properties.append(DynamicConfigValue("displayName", column.title.removeprefix("detail__")))
    if column.steps:
        properties.append(DynamicConfigValue("thresholds", thresholds(column.steps).build()))
    if column.steps and kind == "table":
        properties.append(DynamicConfigValue("custom.cellOptions", {"type": "color-text"}))
    return properties


def panel_links(panel: Panel) -> list[dashboard.DashboardLink]:
    """Return the panel's links: to dashboards, then to the runbooks of its alerts."""
    return [
        *(data_link(link) for link in panel.links),
        *(_linked(f"Runbook: {alert}", runbook(alert)).target_blank(True) for alert in panel.runbooks),
    ]


def data_link(link: Link) -> dashboard.DashboardLink:
    """Return a link to a dashboard, or to the rule of an alert in Grafana's list of rules."""
    if link.alert:
        return _linked(link.title, f"/alerting/list?search=rule:{link.alert}")
    service = f"var-service={link.service}&" if link.service else ""
    return _linked(link.title, f"/d/{link.uid}?{service}{_KEPT}")


def _linked(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url)
