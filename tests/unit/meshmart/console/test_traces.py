"""The recent traces of a choice, from the answers of both trace stores."""

from typing import Any

import pytest

from meshmart.console import traces
from meshmart.console.choice import Choice

PRODUCT = Choice("product", ())
EDGE = Choice("order", (), target="product")


def span(span_id: str, process: str, start: float, parent: str = "", **tags: Any) -> dict[str, Any]:
    """A span of Jaeger; times in seconds."""
    return {
        "spanID": span_id,
        "operationName": f"op {span_id}",
        "processID": process,
        "startTime": int(start * 1e6),
        "duration": 500_000,
        "references": [{"refType": "CHILD_OF", "spanID": parent}] if parent else [],
        "tags": [{"key": key, "value": value} for key, value in tags.items()],
    }


def jaeger(*spans: dict[str, Any], trace_id: str = "ab" * 16) -> dict[str, Any]:
    names = {"p1": "storefront", "p2": "order", "p3": "product"}
    processes = {name: {"serviceName": service} for name, service in names.items()}
    return {"traceID": trace_id, "spans": list(spans), "processes": processes}


CHECKOUT = jaeger(span("c", "p3", 12, "b", error=True), span("b", "p2", 11, "a"), span("a", "p1", 10))
PAGE = jaeger(span("c", "p3", 22, "a"), span("b", "p2", 21, "a"), span("a", "p1", 20))


def test_a_trace_of_jaeger_is_summed_up() -> None:
    [found] = traces.summaries({"data": [CHECKOUT]}, PRODUCT)
    assert found == traces.Summary(
        "ab" * 16, "op a", "storefront", 10.0, 2.5, True, ["storefront", "order", "product"]
    )


def test_a_trace_is_of_an_edge_only_if_the_one_calls_the_other() -> None:
    found = traces.summaries({"data": [CHECKOUT, PAGE]}, EDGE)
    assert [s.start for s in found] == [10.0]


OWN = {
    "trace_id": "cd" * 16,
    "root": "POST /checkout",
    "service": "storefront",
    "start": 5.0,
    "duration_ms": 250.0,
    "error": False,
    "services": ["storefront", "order"],
    "span_count": 4,
}


def test_a_trace_of_the_built_in_store_is_taken_as_it_is() -> None:
    [found] = traces.summaries({"traces": [OWN]}, PRODUCT)
    assert found == traces.Summary(
        "cd" * 16, "POST /checkout", "storefront", 5.0, 0.25, False, ["storefront", "order"]
    )


@pytest.mark.parametrize(
    "told",
    [
        None, [], "x", {"data": None}, {"traces": 3}, {"data": [None, 1, [], {}]}, {"traces": [None, {}]},
        {"data": [jaeger()]}, {"data": [jaeger(span("a", "p9", 1))]}, {"data": [jaeger({})]},
        {"data": [jaeger(span("a", "p1", 1), trace_id="../../evil")]},
        {"data": [jaeger({**span("a", "p1", 1), "startTime": "soon"})]},
        {"data": [{"traceID": "ab", "spans": [span("a", "p1", 1)], "processes": []}]},
        {"data": [jaeger({**span("a", "p1", 1), "startTime": 10**400})]},
        {"traces": [{**OWN, "start": 10**400}]},
        {"traces": [{**OWN, "duration_ms": 10**400}]},
    ],
)  # fmt: skip
def test_what_is_no_trace_is_left_out(told: Any) -> None:
    assert list(traces.summaries(told, PRODUCT)) == []


def test_texts_are_bounded() -> None:
    hostile = {**span("a", "p1", 1), "operationName": "<b>" * 9_999}
    [found] = traces.summaries({"data": [jaeger(hostile)]}, PRODUCT)
    assert len(found.name) == traces.MAX_TEXT
