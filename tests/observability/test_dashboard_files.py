"""The dashboards' files: current, and fit for any Grafana.

Grafana itself does not run here: its own types wrote them (grafana-foundation-sdk), and this checks the rest.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from tests.observability.prom import DASHBOARDS, without_thresholds
from tools.dashboards.__main__ import files, stale


def test_the_files_are_what_the_python_says() -> None:
    assert stale() == [], "run python -m tools.dashboards"
    assert sorted(files()) == DASHBOARDS


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
    assert "current" not in sources["datasource"]
    for panel in board["panels"]:
        assert panel["type"] == "row" or panel["datasource"]["uid"] == "${datasource}"


def test_panels_have_ids_places_and_queries_of_their_own(board: Any) -> None:
    ids = [panel["id"] for panel in board["panels"]]
    assert len(set(ids)) == len(ids)
    places = [tuple(panel["gridPos"][k] for k in "xywh") for panel in board["panels"]]
    taken = [(x + dx, y + dy) for x, y, w, h in places for dx in range(w) for dy in range(h)]
    assert len(set(taken)) == len(taken)
    assert max(x for x, _ in taken) < 24
    for panel in board["panels"]:
        refs = [target["refId"] for target in panel.get("targets", ())]
        assert len(set(refs)) == len(refs)
        assert all(refs)
        assert panel["type"] == "row" or refs


def test_latency_panels_show_exemplars(board: Any) -> None:
    for panel in board["panels"]:
        for target in panel.get("targets", ()):
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
