"""The trace store without sockets: the ring, the tree, the queries, the pages."""

from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as OtlpSpan

from local.traces import Span, TraceStore
from local.traces.model import Event, decode
from local.traces.store import Query
from local.traces.style import milliseconds
from local.traces.web import web_app


def span(
    trace: str = "t1", span_id: str = "a", parent: str = "", start: float = 0.0, end: float = 1.0, **more: Any
) -> Span:
    fields = {"name": f"op-{span_id}", "kind": "server", "service": "order", "replica": "order-1", **more}
    return Span(trace_id=trace, span_id=span_id, parent_id=parent, start=start, end=end, **fields)


CHECKOUT = [
    span(span_id="root", name="POST /checkout", service="storefront", end=10),
    span(span_id="order", parent="root", start=1, end=9, attributes={"order.id": 7}),
    span(span_id="pay", parent="order", start=5, end=8, service="payment", error=True),
    span(span_id="stock", parent="order", start=2, end=4, service="product"),
]


def store_of(*spans: Span, **limits: int) -> TraceStore:
    store = TraceStore(**limits)
    store.add(spans)
    return store


@given(st.permutations(CHECKOUT))
def test_spans_join_into_one_tree_in_whatever_order_they_arrive(spans: list[Span]) -> None:
    trace = store_of(*spans).get("t1")
    assert trace is not None
    assert [(s.span_id, depth) for s, depth in trace.tree()] == [
        ("root", 0),
        ("order", 1),
        ("stock", 2),
        ("pay", 2),
    ]
    assert trace.services == ["storefront", "order", "product", "payment"]
    assert (trace.start, trace.end, trace.error, trace.root.span_id) == (0, 10, True, "root")


def test_a_span_whose_parent_is_missing_stands_as_a_root() -> None:
    trace = store_of(span(parent="elsewhere")).get("t1")
    assert trace is not None
    assert [(s.span_id, depth) for s, depth in trace.tree()] == [("a", 0)]


def test_spans_that_name_each_other_as_parent_are_shown_all_the_same() -> None:
    trace = store_of(span(span_id="a", parent="b"), span(span_id="b", parent="a"), span(span_id="c")).get(
        "t1"
    )
    assert trace is not None
    assert {s.span_id for s, _ in trace.tree()} == {"a", "b", "c"}


def test_a_very_deep_trace_is_no_trouble() -> None:
    chain = [span(span_id=str(n), parent=str(n - 1) if n else "") for n in range(1500)]
    trace = store_of(*chain).get("t1")
    assert trace is not None
    assert trace.tree()[-1][1] == 1499


def test_the_trace_that_was_quiet_longest_leaves_first() -> None:
    store = store_of(*(span(trace=f"t{n}") for n in range(3)), max_traces=3)
    store.add([span(trace="t0", span_id="late"), span(trace="t3")])
    assert [store.get(f"t{n}") is not None for n in range(4)] == [True, False, True, True]
    assert (len(store), store.spans, store.evicted) == (3, 4, 1)


def test_the_number_of_spans_is_bounded_over_all_traces_and_in_each() -> None:
    store = store_of(*(span(span_id=str(n)) for n in range(10)), max_trace_spans=4)
    assert (store.spans, store.dropped) == (4, 6)
    store = store_of(*(span(trace=f"t{n}") for n in range(10)), max_spans=4)
    assert (store.spans, len(store)) == (4, 4)


def test_a_span_sent_twice_counts_once() -> None:
    assert store_of(span(), span()).spans == 1


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(), ["t2", "t1"]),
        (Query(service="payment"), ["t1"]),
        (Query(attributes=(("order.id", "7"),)), ["t1"]),
        (Query(attributes=(("order.id", "8"),)), []),
        (Query(replica="order-1"), ["t2", "t1"]),
        (Query(replica="order-2"), []),
        (Query(service="payment", caller="order"), ["t1"]),
        (Query(service="payment", caller="storefront"), []),
        (Query(error=True), ["t1"]),
        (Query(min_seconds=5), ["t1"]),
    ],
)
def test_a_query_finds_the_newest_first(query: Query, found: list[str]) -> None:
    store = store_of(*CHECKOUT, span(trace="t2"))
    assert [trace.trace_id for trace in store.find(query, 10)] == found


def test_a_span_comes_out_of_otlp_as_it_went_in() -> None:
    request = ExportTraceServiceRequest()
    group = request.resource_spans.add()
    group.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value="order")))
    group.resource.attributes.append(
        KeyValue(key="service.instance.id", value=AnyValue(string_value="order-1"))
    )
    raw = group.scope_spans.add().spans.add()
    raw.trace_id, raw.span_id, raw.parent_span_id = b"\x01" * 16, b"\x02" * 8, b"\x03" * 8
    raw.name, raw.kind = "CreateOrder", OtlpSpan.SPAN_KIND_SERVER
    raw.start_time_unix_nano, raw.end_time_unix_nano = 1_000_000_000, 1_500_000_000
    values = ArrayValue(values=[AnyValue(int_value=1), AnyValue(bool_value=True)])
    raw.attributes.append(KeyValue(key="list", value=AnyValue(array_value=values)))
    raw.attributes.append(KeyValue(key="nothing", value=AnyValue()))
    raw.events.add(name="attempt", time_unix_nano=1_250_000_000)
    raw.status.code = 2
    [got] = decode(request)
    assert got == Span(
        "01" * 16, "02" * 8, "03" * 8, "CreateOrder", "server", "order", "order-1", 1.0, 1.5, True,
        {"list": [1, True], "nothing": None}, (Event("attempt", 1.25, {}),),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0"),
        (0.00084, "840 µs"),
        (0.0123, "12.3 ms"),
        (0.345, "345 ms"),
        (1.25, "1.25 s"),
        (90.0, "1.5 min"),
    ],
)
def test_durations_are_written_for_people(seconds: float, text: str) -> None:
    assert milliseconds(seconds) == text


def client(*spans: Span) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(web_app(store_of(*spans))), base_url="http://traces"
    )


async def test_the_api_lists_and_shows_traces() -> None:
    async with client(*CHECKOUT) as http:
        [listed] = (await http.get("/api/traces", params={"attr": "order.id=7"})).json()["traces"]
        shown = (await http.get("/api/traces/T1")).json()
    assert listed["trace_id"] == "t1"
    assert listed["services"] == ["storefront", "order", "product", "payment"]
    assert [(s["span_id"], s["parent_id"], s["service"]) for s in shown["spans"]] == [
        ("root", "", "storefront"),
        ("order", "root", "order"),
        ("stock", "order", "product"),
        ("pay", "order", "payment"),
    ]
    assert shown["spans"][1]["attributes"] == {"order.id": 7}


@pytest.mark.parametrize(
    ("url", "status"),
    [
        ("/api/traces/none", 404),
        ("/trace/none", 404),
        ("/api/traces?attr=order.id", 400),
        ("/api/traces?limit=many", 400),
        ("/api/traces?min_ms=nan", 400),
        ("/?limit=-5", 200),
        ("/", 200),
    ],
)
async def test_a_wrong_address_is_told_so(url: str, status: int) -> None:
    async with client(*CHECKOUT) as http:
        assert (await http.get(url)).status_code == status


async def test_the_waterfall_places_bars_by_time_and_escapes_names() -> None:
    odd = span(span_id="x", parent="root", start=2.5, end=5, name="<script>", attributes={"k": "<b>"})
    async with client(*CHECKOUT, odd) as http:
        page = (await http.get("/trace/t1")).text
        listing = (await http.get("/")).text
    assert "left:25.000%;width:25.000%" in page
    assert "<script" not in page + listing
    assert "<b>&" not in page
    assert "POST /checkout" in listing


async def test_pages_fetch_nothing_from_elsewhere() -> None:
    async with client(*CHECKOUT) as http:
        for url in ("/", "/trace/t1"):
            assert "http" not in (await http.get(url)).text
