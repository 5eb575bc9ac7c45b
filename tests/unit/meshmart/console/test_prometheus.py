"""The longer charts: queries of the dashboards, and answers of a Prometheus."""

import json
import re
from typing import Any

import pytest

from meshmart.console import prometheus, queries
from meshmart.console.choice import Choice
from tests.observability.prom import DASHBOARDS

SERVICE, REPLICA = Choice("order", ()), Choice("order", (), replica="order-1")
EDGE = Choice("order", (), target="product")


def rates(text: str) -> set[str]:
    """Every rate of an expression, without what tells a choice from a dashboard's variables."""
    plain = re.sub(r', (replica|grpc_service)=~?"[^"]*"', "", text)
    return set(re.findall(r"rate\([^)]*\)", plain.replace('"order"', '"$service"')))


@pytest.mark.parametrize("choice", [SERVICE, REPLICA, EDGE], ids=["service", "replica", "edge"])
def test_the_calls_are_selected_as_the_dashboards_select_them(choice: Choice) -> None:
    panels = [p for file in DASHBOARDS for p in json.loads(file.read_text())["panels"]]
    shown = set().union(*(rates(t["expr"]) for p in panels for t in p.get("targets", ())))
    asked = queries.of(choice, "$namespace", "$__rate_interval", ["ecommerce.ProductService"])
    calls = {rate for query in asked for rate in rates(query) if "http_" not in rate}
    assert len(calls) == 3
    assert calls <= shown


def test_names_are_quoted() -> None:
    hostile = Choice('a"} or up{x="', (), replica="\n\\")
    [rate, *_] = queries.of(hostile, "shop", "60s", ())
    assert r'service="a\"} or up{x=\""' in rate
    assert r'replica="\n\\"' in rate


def answer(*values: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"result": [{"metric": {}, "values": list(values)}]}}


def test_values_are_placed_by_their_time() -> None:
    told = answer([1000, "1.5"], [1040, "2"], [1020, "NaN"], [900, "7"], [99_999, "7"], [1060, "+Inf"])
    assert prometheus.values(told, 1000, 20) == {0: 1.5, 2: 2.0}


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        {},
        {"data": {"result": []}},
        {"data": {"result": [{}]}},
        answer([1]),
        answer(1),
        answer("ab"),
    ],
)
def test_what_is_no_answer_has_no_values(told: Any) -> None:
    assert prometheus.values(told, 1000, 20) == {}


def test_where_there_are_calls_and_no_failing_ones_none_fail() -> None:
    found = prometheus.points({1: 2.0}, {}, {1: 0.1})
    assert found[:3] == [[None, None, None], [2.0, 0.0, 0.1], [None, None, None]]
    assert len(found) == prometheus.POINTS
