"""Propagation of metadata besides the trace, and the limits on what callers may have recorded."""

import random
from typing import Any

import pytest

from grpcmesh.bad_values import bad_values
from grpcmesh.call import (
    ClientCall,
    ServerCall,
    TraceContext,
    current_call,
)
from grpcmesh.config import MeshConfig, TelemetryConfig
from grpcmesh.telemetry import (
    current_baggage,
    detached_context,
)
from grpcmesh.telemetry.limit import RateLimit
from grpcmesh.telemetry.telemetry import _takes_baggage
from grpcmesh.telemetry.tracing import ClientTrace, ServerTrace, Step, Tracer
from grpcmesh.telemetry.w3c import format_traceparent, parse_traceparent
from tests.unit.fakes import FakeContext
from tests.unit.tracingkit import GET, SAMPLED, UNSAMPLED, ListRecorder, Web, serve, tracer


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


STATE, BAGGAGE = "vendor=1,other=2", "tenant=7"


def incoming(*metadata: tuple[str, str]) -> ServerCall:
    """Return a call with this metadata, which may repeat keys."""
    return ServerCall(GET, FakeContext(metadata=metadata), 0.0, dict(metadata))  # type: ignore[arg-type]


def forwarded(layer: Tracer, call: ServerCall, out: ClientCall | None = None, **options: Any) -> list[Any]:
    """Return the metadata of a call that is made while the other is served."""
    ServerTrace(layer, "127.0.1.1:50051", "cluster.local", "meshmart").on_start(call)
    token = current_call.set(call)
    try:
        out = out or ClientCall(GET, "product", 0.0)
        ClientTrace(layer, **options).on_start(out)
    finally:
        current_call.reset(token)
    return out.metadata


PARENT = ("traceparent", format_traceparent(SAMPLED))


@pytest.mark.parametrize("records", [True, False])
def test_tracestate_and_baggage_are_passed_on(recorder: ListRecorder, records: bool) -> None:
    call = incoming(PARENT, ("tracestate", "vendor=1"), ("tracestate", "other=2"), ("baggage", BAGGAGE))
    sent = dict(forwarded(tracer(recorder if records else None), call))
    assert (sent["tracestate"], sent["baggage"]) == (STATE, BAGGAGE)
    trace = parse_traceparent(sent["traceparent"])
    assert trace is not None
    assert (trace.trace_id, trace.sampled) == (SAMPLED.trace_id, True)
    assert (trace.span_id == SAMPLED.span_id) != records


def test_without_a_valid_traceparent_the_tracestate_belongs_to_nothing(recorder: ListRecorder) -> None:
    for parent in ((), (("traceparent", "nonsense"),)):
        sent = dict(
            forwarded(tracer(recorder), incoming(*parent, ("tracestate", STATE), ("baggage", BAGGAGE)))
        )
        assert "tracestate" not in sent
        assert sent["baggage"] == BAGGAGE


@pytest.mark.parametrize("records", [True, False])
def test_a_call_with_two_traceparents_begins_its_own_trace(recorder: ListRecorder, records: bool) -> None:
    """As an HTTP request does: nobody can say which of them is the caller's."""
    before = bad_values.counts["traceparent"]
    call = incoming(PARENT, PARENT, ("tracestate", STATE))
    sent = dict(forwarded(tracer(recorder if records else None), call))
    trace = parse_traceparent(sent["traceparent"])
    assert trace is not None
    assert trace.trace_id != SAMPLED.trace_id
    assert "tracestate" not in sent
    assert bad_values.counts["traceparent"] - before == 1


def test_baggage_stays_where_a_target_takes_none(recorder: ListRecorder) -> None:
    call = incoming(PARENT, ("tracestate", STATE), ("baggage", BAGGAGE))
    sent = dict(forwarded(tracer(recorder), call, takes_baggage=lambda target: target != "product"))
    assert "baggage" not in sent
    assert sent["tracestate"] == STATE


def test_services_of_the_cluster_take_baggage_and_others_when_they_are_named() -> None:
    telemetry = TelemetryConfig(baggage_targets=("api.example.com:443",))
    takes = _takes_baggage(MeshConfig("x", telemetry=telemetry))
    assert takes("product")
    assert takes("product.shop.svc.cluster.local:1")
    assert takes("api.example.com:443")
    assert not takes("api.example.org")


def test_an_application_that_forwards_its_metadata_does_not_send_two_traces(recorder: ListRecorder) -> None:
    out = ClientCall(GET, "product", 0.0)
    out.metadata += [("x", "1"), PARENT, ("tracestate", "old=1"), ("baggage", "its=own")]
    sent = forwarded(tracer(recorder), incoming(PARENT, ("tracestate", STATE), ("baggage", BAGGAGE)), out)
    assert [k for k, _ in sent].count("traceparent") == 1
    assert dict(sent) == {**dict(sent), "x": "1", "tracestate": STATE, "baggage": "its=own"}


def test_spans_and_calls_never_show_baggage(recorder: ListRecorder) -> None:
    call = incoming(PARENT, ("baggage", "secret=shh"))
    forwarded(tracer(recorder), call)
    assert "shh" not in str([(s.name, s.attributes, s.events) for s in recorder.spans])


async def test_baggage_is_that_of_the_call_in_steps_and_detached_work_too(
    recorder: ListRecorder,
) -> None:
    layer = tracer(recorder)
    call = incoming(("baggage", "tenant=%37"))
    ServerTrace(layer, "127.0.1.1:50051", "cluster.local", "meshmart").on_start(call)
    token = current_call.set(call)
    with Step(layer, "step", {}):
        inside = current_baggage()
        detached = detached_context()
    current_call.reset(token)
    call.over = True
    assert inside == {"tenant": "7"}
    assert current_baggage() == {}
    assert detached.run(current_baggage) == {"tenant": "7"}


class Flood:
    """A stopped clock, and the calls of a caller that wants all of them recorded."""

    def __init__(self, recorder: ListRecorder, limit: float, ratio: float = 0.0) -> None:
        self.now = 0.0
        self.tracer = Tracer(ratio, recorder, random.Random(1), RateLimit(limit, lambda: self.now))
        self.layer = ServerTrace(self.tracer, "127.0.1.1:50051", "cluster.local", "meshmart")

    def calls(self, count: int, parent: TraceContext | None = SAMPLED) -> int:
        """Serve `count` calls, and return how many were recorded."""
        header = format_traceparent(parent) if parent else None
        return sum(serve(self.layer, header).span is not None for _ in range(count))

    def counts(self) -> dict[str, float]:
        return {s.labels["result"]: s.value for f in self.tracer.collect() for s in f.samples}


def test_what_callers_may_force_is_limited_and_counted(recorder: ListRecorder) -> None:
    flood = Flood(recorder, 5.0)
    assert flood.calls(100) == 5
    flood.now += 1.0
    assert flood.calls(100) == 5
    assert flood.counts() == {"recorded": 10, "limited": 190}


def test_beyond_the_limit_the_ratio_decides(recorder: ListRecorder) -> None:
    assert Flood(recorder, 0.0, ratio=1.0).calls(20) == 20
    assert 100 < Flood(recorder, 0.0, ratio=0.1).calls(2000) < 300


def test_a_caller_that_forces_nothing_takes_nothing_from_the_limit(recorder: ListRecorder) -> None:
    flood = Flood(recorder, 5.0, ratio=0.5)
    assert flood.calls(100, UNSAMPLED) == 0
    assert 30 < flood.calls(100, None) < 70
    assert flood.counts() == {"recorded": 0, "limited": 0}


def test_what_follows_a_call_beyond_the_limit_is_not_recorded_either(recorder: ListRecorder) -> None:
    flood = Flood(recorder, 0.0)
    sent = dict(forwarded(flood.tracer, incoming(PARENT, ("tracestate", STATE))))
    trace = parse_traceparent(sent["traceparent"])
    assert trace is not None
    assert (trace.trace_id, trace.sampled, sent["tracestate"]) == (SAMPLED.trace_id, False, STATE)
    assert trace.span_id != SAMPLED.span_id
    assert recorder.spans == []


async def test_a_request_that_is_forced_is_within_the_limit_too(recorder: ListRecorder) -> None:
    flood = Flood(recorder, 2.0)
    for force, header in ((True, ""), (False, format_traceparent(SAMPLED)), (True, ""), (False, "")):
        await Web(flood.tracer).request(force, header)
    assert [span.kind for span in recorder.spans] == ["server", "client"] * 2


async def test_a_request_brings_its_tracestate_and_its_baggage_only_where_that_is_believed(
    recorder: ListRecorder,
) -> None:
    headers = [(b"tracestate", b"vendor=1"), (b"TraceState", b"other=2"), (b"baggage", BAGGAGE.encode())]
    web = Web(tracer(recorder))
    await web.request(header=PARENT[1], more=headers)
    await web.request(header=PARENT[1], more=headers, baggage=True)
    stranger, believed = (dict(call.metadata) for call in web.calls)
    assert stranger["tracestate"] == believed["tracestate"] == STATE
    assert "baggage" not in stranger
    assert believed["baggage"] == BAGGAGE


async def test_a_request_with_two_traceparents_begins_a_trace_of_its_own(recorder: ListRecorder) -> None:
    web = Web(tracer(recorder))
    await web.request(header=PARENT[1], more=[(b"traceparent", PARENT[1].encode())])
    assert recorder.spans[0].parent is None
