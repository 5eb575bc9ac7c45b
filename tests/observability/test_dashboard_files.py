"""The dashboards' files: current, and fit for any Grafana.

Grafana itself does not run here: its own types wrote them (grafana-foundation-sdk), and this checks the rest.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from grpcmesh.telemetry.logs import LEVELS, Logger
from grpcmesh.telemetry.metrics import CODE_NAMES, FAULTS
from meshmart.console import codes, edges, series
from tests.observability.prom import DASHBOARDS, of_prometheus, panels, without_thresholds
from tests.observability.rules import ROOT, alerts, rules
from tools.dashboards import calls
from tools.dashboards.__main__ import files, stale
from tools.dashboards.model import HTTP_BAD


def test_the_files_are_what_the_python_says() -> None:
    assert stale() == [], "run python -m tools.dashboards"
    assert sorted(files()) == DASHBOARDS


# Otherwise the options of a panel are read as they are, whatever they are.
register_default_plugins()

BOARDS = {board["uid"]: board for board in (json.loads(file.read_text()) for file in DASHBOARDS)}
OPERATIONS = ROOT / "docs" / "operations.md"
_RUNBOOK = "https://github.com/meshmart/meshmart/blob/main/docs/operations.md#"


@pytest.fixture(params=DASHBOARDS, ids=lambda f: f.stem)
def board(request: pytest.FixtureRequest) -> Any:
    file: Path = request.param
    return json.loads(file.read_text())


def test_grafanas_own_types_read_it_and_lose_nothing(board: Any) -> None:
    read = Dashboard.from_json(board)
    assert json.loads(JSONEncoder().encode(read)) == board


def test_it_belongs_to_no_instance(board: Any) -> None:
    assert "id" not in board
    assert board["uid"].startswith("meshmart-")
    sources = {t["name"]: t for t in board["templating"]["list"] if t["type"] == "datasource"}
    assert sources["datasource"]["query"] == "prometheus"
    assert all("current" not in source for source in sources.values())
    for panel in panels(board):
        if panel["type"] != "row":
            chosen = sources[panel["datasource"]["uid"].removeprefix("${").removesuffix("}")]
            assert chosen["query"] == panel["datasource"]["type"]


def test_panels_have_ids_places_and_queries_of_their_own(board: Any) -> None:
    ids = [panel["id"] for panel in panels(board)]
    assert len(set(ids)) == len(ids)
    places = [tuple(panel["gridPos"][k] for k in "xywh") for panel in board["panels"]]
    taken = [(x + dx, y + dy) for x, y, w, h in places for dx in range(w) for dy in range(h)]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    for panel in panels(board):
        refs = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(refs)) == len(refs)
        assert all(refs)
        assert panel["type"] == "row" or refs


def test_latency_panels_show_exemplars(board: Any) -> None:
    for panel in panels(board):
        for target in of_prometheus(panel):
            if target.get("exemplar"):
                assert "histogram_quantile" in target["expr"]


@pytest.mark.parametrize(
    ("expr", "looked_at"),
    [
        ("up == 0", ["up"]),
        ("a == 0 unless b == 1", ["a", "b"]),
        ("a / b > 0.5 and on (x) c > 1", ["a / b", "c"]),
        ("sum(a or b) > 0", ["sum(a or b)"]),
        ("r > 14.4 * (1 - scalar(slo:x:objective))", ["r"]),
        ('count by (x) (m{s=~"a|b"} == 1)', ['count by (x) (m{s=~"a|b"})']),
    ],
)
def test_an_alert_is_looked_at_without_its_thresholds(expr: str, looked_at: list[str]) -> None:
    assert without_thresholds(expr) == looked_at


@pytest.mark.parametrize(
    "series",
    [
        "mesh_outlier_ejected",
        "mesh_outlier_ejections_total",
        "mesh_breaker_in_flight",
        "mesh_breaker_refused_total",
        "mesh_admission_refused_total",
        "mesh_admission_refused_share",
        "mesh_admission_queue_age_seconds",
        "mesh_hedges_total",
        "mesh_endpoints_used",
    ],
)
def test_what_protects_calls_is_on_a_dashboard(series: str) -> None:
    assert any(series in file.read_text() for file in DASHBOARDS)


def links_of(board: Any) -> list[str]:
    """The address of every link of every panel: of the panel, of a value, of one field."""
    found = []
    for panel in panels(board):
        config = panel.get("fieldConfig", {})
        properties = [each for override in config.get("overrides", ()) for each in override["properties"]]
        of_fields = [link for each in properties if each["id"] == "links" for link in each["value"]]
        of_values = config.get("defaults", {}).get("links", ())
        found += [link["url"] for link in (*panel.get("links", ()), *of_values, *of_fields)]
    return found


def variables(board: Any) -> set[str]:
    return {variable["name"] for variable in board["templating"]["list"]}


def test_every_link_to_a_dashboard_leads_to_one_and_keeps_time_and_variables(board: Any) -> None:
    for url in links_of(board):
        if not url.startswith("/d/"):
            continue
        path, query = url.split("?", 1)
        target = BOARDS[path.removeprefix("/d/")]
        parts = query.split("&")
        assert "${__url_time_range}" in parts
        assert {"${datasource:queryparam}", "${namespace:queryparam}"} <= set(parts)
        kept = {part[2:-12] for part in parts if part.endswith(":queryparam}")}
        assert kept <= variables(board) & variables(target)
        assert ("service" in variables(target)) == any(part.startswith("var-service=${") for part in parts)


def test_every_other_link_leads_to_a_runbook_that_there_is_or_to_an_alerts_rule(board: Any) -> None:
    sections = {name.lower() for name in re.findall(r"^### (\w+)$", OPERATIONS.read_text(), re.MULTILINE)}
    for url in links_of(board):
        if not url.startswith(("/d/", "/alerting/list?search=rule:")):
            assert url.startswith(_RUNBOOK), url
            assert url.removeprefix(_RUNBOOK) in sections


def test_dashboards_link_to_each_other_with_the_time_range_and_the_variables(board: Any) -> None:
    (link,) = board["links"]
    assert (link["type"], link["tags"]) == ("dashboards", ["meshmart"])
    assert link["keepTime"]
    assert link["includeVars"]
    assert "meshmart" in board["tags"]


@pytest.mark.parametrize("alert", alerts())
def test_a_panel_leads_to_each_runbook(alert: str) -> None:
    found = [url for board in BOARDS.values() for url in links_of(board)]
    assert _RUNBOOK + alert.lower() in found


def test_every_alert_leads_to_a_dashboard_with_a_link_to_its_runbook() -> None:
    for rule in rules():
        if "alert" in rule:
            board = BOARDS[rule["annotations"]["__dashboardUid__"]]
            assert rule["annotations"]["runbook_url"] in links_of(board), rule["alert"]


def test_figures_have_thresholds_in_order(board: Any) -> None:
    for panel in panels(board):
        if panel["type"] in ("stat", "gauge", "state-timeline"):
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert "value" not in steps[0] or steps[0]["value"] is None, "minus infinity"
            bounds = [step["value"] for step in steps[1:]]
            assert bounds == sorted(set(bounds))


def test_the_overview_answers_at_a_glance() -> None:
    """What somebody who is woken looks for first, above what has to be scrolled to."""
    found = panels(BOARDS["meshmart-overview"])
    first = [p for p in found if p["gridPos"]["y"] < 11 and p["type"] in ("stat", "gauge")]
    titles = {panel["title"] for panel in first}
    assert {
        "Success",
        "p99",
        "Calls",
        "Replicas ready",
        "Ejected endpoints",
        "Shed",
        "Alerts firing",
    } <= titles
    assert {"Certificates: least lifetime left", "Oldest event in an outbox"} <= titles
    kinds = {panel["type"] for panel in panels(BOARDS["meshmart-overview"])}
    assert {"stat", "gauge", "state-timeline", "nodeGraph", "table", "timeseries"} <= kinds


def test_console_dashboards_and_alerts_agree_on_what_fails() -> None:
    faults = {CODE_NAMES[name] for name in FAULTS}
    assert faults == set(codes.FAILURES)
    texts = [file.read_text() for file in DASHBOARDS] + [rule["expr"] for rule in rules()]
    told = {codes for text in texts for codes in re.findall(r'grpc_code=~\\?"([\w|]+)\\?"', text)}
    assert [set(codes.split("|")) for codes in told] == [faults]


@pytest.mark.parametrize("status", ["0", "200", "302", "404", "499", "500", "503"])
def test_console_and_dashboards_agree_on_which_pages_fail(status: str) -> None:
    pattern = HTTP_BAD.split('"')[1]
    page = f'http_server_request_duration_seconds_count{{http_response_status_code="{status}"}} 1'
    (seen,) = series.Parser().parse(page).values
    assert codes.failed(seen[1]) == bool(re.fullmatch(pattern, status))


def test_console_and_dashboards_agree_on_when_an_edge_is_red() -> None:
    assert calls.FAILING == edges.FAILING


def test_panels_of_logs_and_traces_ask_nothing_until_their_row_is_opened() -> None:
    """There may be no log source: then a panel that asks would show an error."""
    shown = [panel for board in BOARDS.values() for panel in board["panels"]]
    assert all(panel["datasource"]["type"] == "prometheus" for panel in shown if panel["type"] != "row")
    (row,) = [row for row in shown if row["type"] == "row" and row.get("collapsed")]
    assert [panel["datasource"]["type"] for panel in row["panels"]] == ["loki", "jaeger", "loki"]
    assert row["gridPos"]["y"] == max(panel["gridPos"]["y"] for panel in BOARDS["meshmart-service"]["panels"])


def test_the_filter_of_log_lines_finds_a_services_own_lines() -> None:
    """By their text, because the labels of streams differ between the agents that collect them."""
    written: list[str] = []
    Logger("order", "order-1", written.append).warning("stock low", product=7)
    Logger("user", "user-1", written.append).info("order")
    queries = [
        t["expr"] for p in panels(BOARDS["meshmart-service"]) if p["type"] == "logs" for t in p["targets"]
    ]
    for query in queries:
        (part,) = re.findall(r"\|= `(.+?)`", query)
        assert [part.replace("$service", "order") in line for line in written] == [True, False]
    (levels,) = re.findall(r'level=~"([\w|]+)"', " ".join(queries))
    assert set(levels.split("|")) == {name for name, level in LEVELS.items() if level >= LEVELS["WARNING"]}
