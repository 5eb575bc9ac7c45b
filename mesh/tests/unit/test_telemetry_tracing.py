"""Propagation, sampling and the tracing layers, with a recorder that keeps spans in a list."""

import asyncio
from typing import Any

import grpc
import pytest

from grpcmesh.call import (
    Principal,
    Workload,
    current_call,
    current_workload,
)
from grpcmesh.telemetry import (
    annotate,
    current_span,
    current_trace,
    detached_context,
)
from grpcmesh.telemetry.context import active
from grpcmesh.telemetry.tracing import ClientTrace, ServerTrace, Step
from grpcmesh.telemetry.w3c import format_traceparent
from tests.unit.tracingkit import (
    HEALTH,
    SAMPLED,
    UNSAMPLED,
    ListRecorder,
    Web,
    send,
    serve,
    tracer,
)


@pytest.fixture
def recorder() -> ListRecorder:
    return ListRecorder()


def test_about_the_ratio_of_new_traces_is_sampled(recorder: ListRecorder) -> None:
    layer = ServerTrace(tracer(recorder, 0.1), "127.0.1.1:50051", "cluster.local", "meshmart")
    sampled = sum(serve(layer).span is not None for _ in range(2000))
    assert 150 <= sampled <= 250


def test_the_callers_decision_is_followed_both_ways(recorder: ListRecorder) -> None:
    never, always = (
        ServerTrace(tracer(recorder, ratio), "127.0.1.1:50051", "cluster.local", "meshmart")
        for ratio in (0.0, 1.0)
    )
    recorded = serve(never, format_traceparent(SAMPLED))
    assert recorded.span.parent == SAMPLED
    passed = serve(always, format_traceparent(UNSAMPLED))
    assert (passed.span, passed.trace) == (None, UNSAMPLED)


def test_an_unsampled_call_still_has_a_trace_that_its_own_calls_carry_on(recorder: ListRecorder) -> None:
    unsampled = tracer(recorder, 0.0)
    call = serve(ServerTrace(unsampled, "127.0.1.1:50051", "cluster.local", "meshmart"))
    token = current_call.set(call)
    try:
        out = send(ClientTrace(unsampled))
    finally:
        current_call.reset(token)
    assert call.trace is not None
    assert not call.trace.sampled
    assert out.metadata == [("traceparent", format_traceparent(call.trace))]
    assert recorder.spans == []


def test_without_an_exporter_a_sampled_context_passes_through_unchanged() -> None:
    silent = tracer(None)
    token = current_call.set(
        serve(
            ServerTrace(silent, "127.0.1.1:50051", "cluster.local", "meshmart"), format_traceparent(SAMPLED)
        )
    )
    try:
        out = send(ClientTrace(silent))
    finally:
        current_call.reset(token)
    assert out.metadata == [("traceparent", format_traceparent(SAMPLED))]


def test_health_checks_begin_no_trace(recorder: ListRecorder) -> None:
    assert (
        serve(
            ServerTrace(tracer(recorder), "127.0.1.1:50051", "cluster.local", "meshmart"), method=HEALTH
        ).trace
        is None
    )
    assert send(ClientTrace(tracer(recorder)), HEALTH).metadata == []
    assert recorder.spans == []


def test_a_client_span_is_the_child_of_the_served_call_and_its_context_is_sent(
    recorder: ListRecorder,
) -> None:
    layer = tracer(recorder)
    inbound = serve(
        ServerTrace(layer, "127.0.1.1:50051", "cluster.local", "meshmart"), format_traceparent(SAMPLED)
    )
    token = current_call.set(inbound)
    try:
        out = send(ClientTrace(layer))
    finally:
        current_call.reset(token)
    assert out.span.parent == inbound.trace
    assert out.metadata == [("traceparent", format_traceparent(out.trace))]  # type: ignore[arg-type]
    assert out.trace.trace_id == SAMPLED.trace_id  # type: ignore[union-attr]


def test_each_attempt_is_an_event_with_its_endpoint_and_code(recorder: ListRecorder) -> None:
    layer = ClientTrace(tracer(recorder))
    call = send(layer)
    for n, (endpoint, code) in enumerate(
        [("127.0.1.1:50051", grpc.StatusCode.UNAVAILABLE), ("[::1]:50051", grpc.StatusCode.OK)], 1
    ):
        call.attempts, call.endpoint = n, endpoint
        layer.on_attempt(call, code)
    layer.on_end(call)
    first, second = (attributes for _, attributes in recorder.spans[0].events)
    assert first == {
        "mesh.attempt": 1,
        "rpc.response.status_code": "UNAVAILABLE",
        "server.address": "127.0.1.1",
        "server.port": 50051,
    }
    assert (second["server.address"], second["rpc.response.status_code"]) == ("::1", "OK")
    assert recorder.spans[0].ended
    assert recorder.spans[0].error is None


def test_a_server_span_says_who_called_what_and_how_it_ended(recorder: ListRecorder) -> None:
    layer = ServerTrace(tracer(recorder), "127.0.1.1:50051", "cluster.local", "meshmart")
    call = serve(layer)
    call.workload, call.principal = Workload("cluster.local", "meshmart", "order"), Principal(7, "x")
    call.code = grpc.StatusCode.UNAVAILABLE
    layer.on_end(call)
    [span] = recorder.spans
    assert (span.name, span.kind, span.error) == (
        "ecommerce.ProductService/GetProduct",
        "server",
        "UNAVAILABLE",
    )
    assert span.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "ecommerce.ProductService/GetProduct",
        "rpc.response.status_code": "UNAVAILABLE",
        "server.address": "127.0.1.1",
        "server.port": 50051,
        "mesh.caller": "order",
        "user.id": "7",
    }


@pytest.mark.parametrize(("code", "error"), [("NOT_FOUND", None), ("INTERNAL", "INTERNAL")])
def test_the_callers_mistakes_are_no_error_of_the_server(
    recorder: ListRecorder, code: str, error: str | None
) -> None:
    layer = ServerTrace(tracer(recorder), "127.0.1.1:50051", "cluster.local", "meshmart")
    call = serve(layer)
    call.code = grpc.StatusCode[code]
    layer.on_end(call)
    assert recorder.spans[0].error == error


def test_calls_inside_a_step_are_its_children_and_it_can_be_annotated(recorder: ListRecorder) -> None:
    layer = tracer(recorder)
    outs = []

    def charge() -> None:
        with Step(layer, "charge", {}):
            annotate(order_id=7)
            outs.append(send(ClientTrace(layer)))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        charge()
    [out] = outs
    step = recorder.spans[0]
    assert out.span.parent == step.trace
    assert (step.attributes, step.error, step.ended) == ({"order.id": 7}, "RuntimeError", True)
    assert current_trace() is None


def test_a_call_served_within_a_steps_context_is_not_part_of_the_step(recorder: ListRecorder) -> None:
    layer = tracer(recorder)
    with Step(layer, "start the server", {}):
        served = serve(ServerTrace(layer, "127.0.1.1:50051", "cluster.local", "meshmart"))
        token = current_call.set(served)
        inside = send(ClientTrace(layer))
        current_call.reset(token)
        outside = send(ClientTrace(layer))
    assert inside.span.parent == served.trace
    assert outside.span.parent == recorder.spans[0].trace


async def test_a_task_that_outlives_a_step_is_no_part_of_it(recorder: ListRecorder) -> None:
    layer = tracer(recorder)
    over = asyncio.Event()
    seen: list[Any] = []

    async def linger() -> None:
        seen.append(current_trace())
        await over.wait()
        seen.append(current_trace())

    with Step(layer, "outer", {}) as outer:
        with Step(layer, "inner", {}) as inner:
            task = asyncio.create_task(linger())
            await asyncio.sleep(0)
        over.set()
        await task
    assert seen == [inner.trace, outer.trace]


async def test_a_task_that_outlives_the_call_keeps_the_steps_of_its_own(recorder: ListRecorder) -> None:
    layer = tracer(recorder)
    served = serve(ServerTrace(layer, "127.0.1.1:50051", "cluster.local", "meshmart"))
    over = asyncio.Event()

    async def work() -> list[Any]:
        with Step(layer, "work", {}) as step:
            await over.wait()
            return [step.trace, current_trace(), send(ClientTrace(layer)).span.parent]

    token = current_call.set(served)
    task = asyncio.create_task(work())
    await asyncio.sleep(0)
    current_call.reset(token)
    served.over = True
    over.set()
    step, now, parent = await task
    assert step == now == parent


async def test_tasks_that_create_tasks_hold_no_chain_of_steps_that_ended(recorder: ListRecorder) -> None:
    layer = tracer(recorder)

    async def relay(left: int) -> int:
        with Step(layer, "relay", {}):
            inner, depth = active.get(), 0
            while inner is not None:
                inner, depth = inner.outer, depth + 1
            if not left:
                return depth
            task = asyncio.create_task(relay(left - 1))
        return await task

    assert await relay(50) <= 2


def test_a_server_span_names_a_caller_from_elsewhere_by_its_whole_id(recorder: ListRecorder) -> None:
    layer = ServerTrace(tracer(recorder), "127.0.1.1:50051", "cluster.local", "meshmart")
    call = serve(layer)
    call.workload = Workload.of_id("spiffe://partner.example/ns/meshmart/sa/order")
    layer.on_end(call)
    assert recorder.spans[0].attributes["mesh.caller"] == "spiffe://partner.example/ns/meshmart/sa/order"


async def test_detached_work_keeps_the_trace_and_nothing_else(recorder: ListRecorder) -> None:
    layer = tracer(recorder)
    served = serve(ServerTrace(layer, "127.0.1.1:50051", "cluster.local", "meshmart"))
    served.workload = Workload("cluster.local", "meshmart", "order")

    async def work() -> list[Any]:
        served.over = True
        return [current_trace(), current_span(), current_workload(), current_call.get()]

    token = current_call.set(served)
    detached = asyncio.create_task(work(), context=detached_context())
    current_call.reset(token)
    assert await detached == [served.trace, None, None, None]
    assert detached_context().run(current_trace) is None  # outside of any trace there is none to keep


def test_annotating_outside_of_a_sampled_trace_does_nothing() -> None:
    annotate(order_id=7)


async def test_an_http_request_is_the_root_of_the_calls_it_makes(recorder: ListRecorder) -> None:
    web = Web(tracer(recorder))
    await web.request()
    root = recorder.spans[0]
    assert (root.name, root.kind, root.parent, root.error) == ("GET /products/{id}", "server", None, None)
    assert root.attributes == {
        "http.request.method": "GET",
        "url.path": "/products/1",
        "url.scheme": "http",
        "http.route": "/products/{id}",
        "http.response.status_code": 200,
    }
    assert web.calls[0].span.parent == root.trace
    assert (b"x-trace-id", root.trace.trace_id.encode()) in web.sent[0]["headers"]


@pytest.mark.parametrize(("force", "header"), [(True, ""), (False, format_traceparent(SAMPLED))])
async def test_a_request_is_recorded_when_forced_or_when_its_header_says_so(
    recorder: ListRecorder, force: bool, header: str
) -> None:
    await Web(tracer(recorder, 0.0)).request(force, header)
    assert [span.kind for span in recorder.spans] == ["server", "client"]
    assert all(span.ended for span in recorder.spans[:1])


async def test_an_unsampled_request_still_tells_its_trace_id(recorder: ListRecorder) -> None:
    web = Web(tracer(recorder, 0.0))
    await web.request()
    header = dict(web.sent[0]["headers"])[b"x-trace-id"].decode()
    assert web.calls[0].trace is not None
    assert header == web.calls[0].trace.trace_id


async def test_a_failed_response_marks_the_span(recorder: ListRecorder) -> None:
    await Web(tracer(recorder), status=503).request()
    assert recorder.spans[0].error == "503"
