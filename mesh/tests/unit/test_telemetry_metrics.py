"""RPC metrics and the registry: what a scrape shows, without sockets."""

import asyncio
import shutil
import subprocess
from collections.abc import Iterable

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from grpcmesh.call import ClientCall, Kind, Method, ServerCall, TraceContext
from grpcmesh.config import MeshConfig
from grpcmesh.telemetry import Telemetry
from grpcmesh.telemetry.metrics import BUCKETS, MAX_METHODS, ClientMetrics, ServerMetrics
from grpcmesh.telemetry.registry import MergedSources

GET = Method.parse("/ecommerce.ProductService/GetProduct", Kind.UNARY)
FOLLOW = Method.parse("/ecommerce.OrderService/StreamOrderUpdates", Kind.SERVER_STREAM)
TRACE = TraceContext("ab" * 16, "cd" * 8, True)


def served(
    metrics: ServerMetrics,
    seconds: float = 0.002,
    code: grpc.StatusCode = grpc.StatusCode.OK,
    method: Method = GET,
    trace: TraceContext | None = None,
) -> ServerCall:
    call = ServerCall(method, None, started=100.0, metadata={}, trace=trace)  # type: ignore[arg-type]
    metrics.on_start(call)
    call.code, call.ended, call.received, call.sent = code, 100.0 + seconds, 1, 1
    metrics.on_end(call)
    return call


def values(source: object, name: str, **labels: str) -> list[float]:
    """Return the values of all samples with this name and at least these labels."""
    samples = (s for family in source.collect() for s in family.samples)  # type: ignore[attr-defined]
    return [s.value for s in samples if s.name == name and labels.items() <= s.labels.items()]


@pytest.mark.parametrize(
    ("code", "label"),
    [
        (grpc.StatusCode.OK, "OK"),
        (grpc.StatusCode.NOT_FOUND, "NotFound"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "DeadlineExceeded"),
        (grpc.StatusCode.CANCELLED, "Cancelled"),
    ],
)
def test_a_code_is_written_as_public_dashboards_expect(code: grpc.StatusCode, label: str) -> None:
    metrics = ServerMetrics()
    served(metrics, code=code)
    assert values(metrics, "grpc_server_handled_total", grpc_code=label) == [1]


def test_faults_are_shown_with_zeros_before_the_first_and_other_codes_are_not() -> None:
    metrics = ServerMetrics()
    served(metrics, code=grpc.StatusCode.UNAVAILABLE)
    shown = {
        s.labels["grpc_code"]: s.value
        for f in metrics.collect()
        for s in f.samples
        if "grpc_code" in s.labels
    }
    zeros = ("OK", "Unknown", "DeadlineExceeded", "ResourceExhausted", "Internal", "DataLoss")
    assert shown == {"Unavailable": 1} | dict.fromkeys(zeros, 0)


def test_names_and_labels_are_those_of_the_design() -> None:
    for side, metrics in (("server", ServerMetrics()), ("client", ClientMetrics())):
        metrics.declare([GET])
        names = {s.name: set(s.labels) for f in metrics.collect() for s in f.samples}
        base = {"grpc_type", "grpc_service", "grpc_method"}
        assert names == {
            f"grpc_{side}_started_total": base,
            f"grpc_{side}_handled_total": base | {"grpc_code"},
            f"grpc_{side}_handling_seconds_bucket": base | {"le"},
            f"grpc_{side}_handling_seconds_count": base,
            f"grpc_{side}_handling_seconds_sum": base,
            f"grpc_{side}_msg_received_total": base,
            f"grpc_{side}_msg_sent_total": base,
        }


def test_a_call_under_way_is_started_and_not_handled() -> None:
    metrics = ClientMetrics()
    metrics.on_start(ClientCall(GET, "product", 0.0))
    assert values(metrics, "grpc_client_started_total") == [1]
    assert values(metrics, "grpc_client_handled_total", grpc_code="OK") == [0]


def test_messages_of_a_stream_count_before_it_ends_and_once() -> None:
    metrics = ServerMetrics()
    call = ServerCall(FOLLOW, None, 0.0, {})  # type: ignore[arg-type]
    metrics.on_start(call)
    call.sent = 3
    assert values(metrics, "grpc_server_msg_sent_total") == [3]
    call.sent, call.ended = 5, 1.0
    metrics.on_end(call)
    assert values(metrics, "grpc_server_msg_sent_total") == [5]


@given(st.lists(st.floats(0, 20, allow_nan=False), max_size=50))
def test_the_histogram_shows_what_prometheus_client_would(seconds: list[float]) -> None:
    ours, theirs = ServerMetrics(), CollectorRegistry()
    labels = {"grpc_type": "unary", "grpc_service": GET.service, "grpc_method": GET.name}
    reference = Histogram("grpc_server_handling_seconds", "x", list(labels), buckets=BUCKETS, registry=theirs)
    ours.declare([GET])
    child = reference.labels(**labels)
    for value in seconds:
        child.observe((100.0 + value) - 100.0)
        served(ours, value)
    want = {
        (s.name, s.labels.get("le")): s.value
        for f in theirs.collect()
        for s in f.samples
        if not s.name.endswith("_created")
    }
    got = {
        (s.name, s.labels.get("le")): s.value
        for f in ours.collect()
        for s in f.samples
        if s.name.startswith("grpc_server_handling_seconds")
    }
    assert got.keys() == want.keys()
    assert got == pytest.approx(want)


def test_methods_beyond_the_bound_share_one_unknown_series() -> None:
    metrics = ServerMetrics()
    for n in range(MAX_METHODS + 50):
        served(metrics, method=Method.parse(f"/x.Y/M{n}", Kind.UNARY))
    assert len(values(metrics, "grpc_server_started_total")) == MAX_METHODS + 1
    assert values(metrics, "grpc_server_started_total", grpc_method="unknown") == [50]
    assert values(metrics, "grpc_server_handled_total", grpc_method="unknown", grpc_code="OK") == [50]


def test_only_a_sampled_call_leaves_an_exemplar_and_openmetrics_shows_it() -> None:
    telemetry = Telemetry(MeshConfig("product", "product-1"), environ={})
    served(telemetry.metrics_server, 0.003, trace=TRACE)
    served(telemetry.metrics_server, 0.3, trace=TraceContext("ef" * 16, "cd" * 8, False))
    text = openmetrics.generate_latest(telemetry.registry).decode()
    exemplars = [
        (s.labels["le"], s.exemplar.labels, s.exemplar.value)
        for family in parse_openmetrics(text)
        for s in family.samples
        if s.exemplar
    ]
    assert exemplars == [("0.005", {"trace_id": "ab" * 16}, pytest.approx(0.003))]


class Fixed:
    """A source with given metric families."""

    def __init__(self, *families: Metric) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def counter(target: str, value: float) -> Metric:
    family = CounterMetricFamily("mesh_picks", "Picks.", labels=("target",))
    family.add_metric((target,), value)
    return family


def gauge(value: float) -> Metric:
    return GaugeMetricFamily("mesh_set_size", "Endpoints.", value=value)


def exposed(sources: MergedSources) -> dict[tuple[str, str], float]:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(sources)
    text = generate_latest(registry).decode()
    assert text.count("# TYPE mesh_picks_total counter") <= 1
    samples = (s for family in text_string_to_metric_families(text) for s in family.samples)
    return {(s.name, s.labels.get("target", "")): s.value for s in samples}


def test_families_of_one_name_from_several_sources_become_one() -> None:
    merged = MergedSources()
    merged.add(Fixed(counter("product", 1)))
    merged.add(Fixed(counter("user", 2)))
    assert exposed(merged) == {("mesh_picks_total", "product"): 1, ("mesh_picks_total", "user"): 2}


def test_equal_counters_add_up_and_of_equal_gauges_the_last_is_shown() -> None:
    merged = MergedSources()
    merged.add(Fixed(counter("product", 1), gauge(5)))
    merged.add(Fixed(counter("product", 2), gauge(3)))
    assert exposed(merged) == {("mesh_picks_total", "product"): 3, ("mesh_set_size", ""): 3}


def test_a_removed_source_is_no_longer_shown() -> None:
    merged = MergedSources()
    remove = merged.add(Fixed(gauge(5)))
    remove()
    remove()
    assert exposed(merged) == {}


def test_one_name_with_two_types_is_an_error_that_names_it() -> None:
    merged = MergedSources()
    merged.add(Fixed(counter("product", 1)))
    merged.add(Fixed(GaugeMetricFamily("mesh_picks", "Picks.", value=1)))
    with pytest.raises(ValueError, match="mesh_picks is both a counter and a gauge"):
        list(merged.collect())


@pytest.fixture
def full_telemetry() -> Telemetry:
    telemetry = Telemetry(MeshConfig("product", "product-1"), environ={})
    for code in (grpc.StatusCode.OK, grpc.StatusCode.NOT_FOUND):
        served(telemetry.metrics_server, code=code, trace=TRACE)
    telemetry.metrics_client.declare([GET, FOLLOW])
    return telemetry


def test_the_exposition_of_a_process_parses_and_has_process_metrics(full_telemetry: Telemetry) -> None:
    text = generate_latest(full_telemetry.registry).decode()
    names = {family.name for family in text_string_to_metric_families(text)}
    assert {"grpc_server_handled", "process_cpu_seconds", "mesh_event_loop_lag_seconds"} <= names


async def test_tasks_of_the_loop_are_counted_while_it_runs(full_telemetry: Telemetry) -> None:
    def tasks() -> float | None:
        return full_telemetry.registry.get_sample_value("mesh_event_loop_tasks")

    assert tasks() is None
    await full_telemetry.start()
    before = tasks()
    assert before is not None
    extra = [asyncio.create_task(asyncio.Event().wait()) for _ in range(3)]
    assert tasks() == before + 3
    for task in extra:
        task.cancel()
    await asyncio.gather(*extra, return_exceptions=True)
    assert tasks() == before
    await full_telemetry.aclose()
    assert tasks() is None


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_finds_nothing_to_say_about_the_exposition(full_telemetry: Telemetry) -> None:
    text = generate_latest(full_telemetry.registry)
    checked = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert (checked.returncode, checked.stderr.decode()) == (0, "")
