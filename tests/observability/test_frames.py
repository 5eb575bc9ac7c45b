"""The call graph and the table of calls: what Grafana's own transformations make of Prometheus's answers."""

import json
import re
from typing import Any

import pytest

from tests.observability.frames import Frame, Vector, rows, transformed
from tests.observability.prom import DASHBOARDS, panels

#: Fields without which Grafana's node graph fails: `processNodes` and `processEdges` in
#: public/app/plugins/panel/nodeGraph/utils.ts. The others are drawn where they are there.
NODE = {"id", "title", "mainStat", "secondaryStat"}
EDGE = {"id", "source", "target", "mainStat", "secondaryStat"}


def panel_of(kind: str) -> dict[str, Any]:
    """The overview's panel of this kind that has transformations."""
    board = next(json.loads(file.read_text()) for file in DASHBOARDS if file.stem == "overview")
    found: dict[str, Any] = next(p for p in panels(board) if p["type"] == kind and p.get("transformations"))
    return found


def vector(*series: tuple[dict[str, str], str]) -> Vector:
    """An answer of Prometheus, at one time."""
    return [{"metric": labels, "value": [1700000000.0, number]} for labels, number in series]


def node(service: str) -> dict[str, str]:
    return {"service": service, "id": service, "title": service}


def edge(caller: str, target: str, **more: str) -> dict[str, str]:
    return {"service": caller, "source": caller, "target": target, "id": f"{caller} → {target}"} | more


#: Two services and a call between them. Another one is idle: it has no p99 and no success.
ANSWERS = {
    "nodes_rate": vector((node("order"), "2.5"), (node("product"), "10"), (node("chat"), "0")),
    "nodes_p99": vector((node("order"), "0.02"), (node("product"), "0.01")),
    "nodes_ok": vector((node("order"), "1"), (node("product"), "0.75"), (node("chat"), "1")),
    "nodes_failed": vector((node("order"), "0"), (node("product"), "0.25"), (node("chat"), "0")),
    "nodes_ready": vector((node("order"), "2"), (node("product"), "3"), (node("chat"), "1")),
    "nodes_replicas": vector((node("order"), "2"), (node("product"), "4"), (node("chat"), "1")),
    "edges_rate": vector((edge("order", "product"), "10"), (edge("order", "chat"), "0")),
    "edges_success": vector((edge("order", "product", color="#F2495C"), "0.75")),
    "edges_p99": vector((edge("order", "product"), "0.015")),
    "edges_retries": vector((edge("order", "product"), "0.5"), (edge("order", "chat"), "0")),
    "edges_thickness": vector((edge("order", "product"), "5"), (edge("order", "chat"), "1")),
}


def graph(panel: dict[str, Any], answers: dict[str, Vector]) -> tuple[Frame, Frame]:
    """The nodes and the edges of a node graph; fails where Grafana's would."""
    frames, names = transformed(panel, answers)
    assert len(frames) == 2
    edges, nodes = sorted(frames, key=lambda f: names["source"] not in {x["name"] for x in f["fields"]})
    for frame, wanted in ((nodes, NODE), (edges, EDGE)):
        have = {field["name"] for field in frame["fields"]}
        assert {names[name] for name in wanted} <= have
        ids = [row["id"] for row in rows(frame)]
        assert len(set(ids)) == len(ids), "each is drawn once"
        assert all(isinstance(each, str) and each for each in ids)
    known = {row["id"] for row in rows(nodes)}
    for row in rows(edges):
        assert {row["source"], row["target"]} <= known, "Grafana fails on an edge to a node that is not there"
    for row in rows(nodes):
        assert row["arc__ok"] + row["arc__failed"] == pytest.approx(1), "the parts of a circle"
    return nodes, edges


def test_the_call_graph_has_the_fields_that_grafanas_node_graph_needs() -> None:
    nodes, edges = graph(panel_of("nodeGraph"), ANSWERS)
    product = next(row for row in rows(nodes) if row["id"] == "product")
    assert product == {
        "id": "product",
        "title": "product",
        "mainstat": 10,
        "secondarystat": 0.01,
        "arc__ok": 0.75,
        "arc__failed": 0.25,
        "detail__ready": 3,
        "detail__replicas": 4,
    }
    call = next(row for row in rows(edges) if row["target"] == "product")
    assert (call["mainstat"], call["secondarystat"], call["detail__retries"]) == (10, 0.75, 0.5)
    assert (call["color"], call["thickness"], call["detail__p99"]) == ("#F2495C", 5, 0.015)


def test_an_idle_service_and_an_idle_edge_are_drawn_too() -> None:
    nodes, edges = graph(panel_of("nodeGraph"), ANSWERS)
    idle = next(row for row in rows(nodes) if row["id"] == "chat")
    assert (idle["mainstat"], idle["secondarystat"]) == (0, None)
    call = next(row for row in rows(edges) if row["target"] == "chat")
    assert (call["mainstat"], call["secondarystat"]) == (0, None)


def test_the_table_has_a_row_for_each_caller_and_target() -> None:
    panel = panel_of("table")
    (frame,), _ = transformed(panel, {ref: ANSWERS[ref] for ref in (t["refId"] for t in panel["targets"])})
    busy, idle = rows(frame, "shown")
    wanted = {
        "Caller": "order",
        "Target": "product",
        "Calls": 10,
        "Success": 0.75,
        "p99": 0.015,
        "Retries": 0.5,
    }
    assert busy == wanted
    assert idle == {
        "Caller": "order",
        "Target": "chat",
        "Calls": 0,
        "Success": None,
        "p99": None,
        "Retries": 0,
    }
    assert list(busy) == list(wanted)


@pytest.mark.parametrize("kind", ["table", "nodeGraph"])
def test_overrides_and_links_name_fields_that_are_there(kind: str) -> None:
    panel = panel_of(kind)
    frames, _ = transformed(panel, {t["refId"]: ANSWERS[t["refId"]] for t in panel["targets"]})
    have = {field["shown"] for frame in frames for field in frame["fields"]}
    overrides = panel["fieldConfig"]["overrides"]
    assert {each["matcher"]["options"] for each in overrides} <= have
    linked = re.findall(r"\$\{__data\.fields\.(\w+)\}", json.dumps(overrides))
    assert linked
    assert set(linked) <= have


def test_the_graph_names_each_query_once() -> None:
    """A value that no transformation takes up would be a field that nothing shows."""
    panel = panel_of("nodeGraph")
    options = [each["options"] for each in panel["transformations"] if each["id"] == "calculateField"]
    taken = [each["binary"]["left"]["matcher"]["options"] for each in options]
    assert sorted(taken) == sorted(f"Value #{target['refId']}" for target in panel["targets"])
