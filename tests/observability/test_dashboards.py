"""Every expression of every panel and rule has data on a real Prometheus that scraped the shop under load."""

import asyncio
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from meshmart.console import prometheus as console
from meshmart.console.choice import Choice
from tests.e2e.conftest import RunningCluster, up
from tests.observability.frames import rows
from tests.observability.prom import Expression, Prometheus, expressions, fetch, filled, without_thresholds
from tests.observability.rules import Rule, rules
from tests.observability.test_frames import graph, panel_of

EXPRESSIONS = expressions()
#: Recorded by the rules that are true for as long as they are evaluated, and what each alert looks at.
LOOKED_AT = [
    (f"{rule.get('alert') or rule['record']} {i}", expr)
    for rule in rules()
    for i, expr in enumerate(without_thresholds(rule["expr"]))
]
#: Seconds of load before, between and after what happens, for scrapes (2 s) and evaluations (5 s).
SETTLE = 15.0


def weighted(out_of_band: bool) -> Any:
    """Weighted round robin, with outlier detection as ever."""
    policy = {"weighted_round_robin": {"enableOobLoadReport": out_of_band, "oobReportingPeriod": "1s"}}
    return {"loadBalancingConfig": [{"outlier_detection_experimental": {"childPolicy": [policy]}}]}


#: Loopback addresses beside those of other clusters; a load in the mesh, and traces of it.
ENVIRONMENT = {
    "MESHMART_LOOPBACK": "127.44",
    "MESHMART_LOAD_RPS": "10",
    "MESHMART_LOAD_SCENARIO": "mix",
    "MESH_TELEMETRY_SAMPLE_RATIO": "0.25",
    # Two ways of load reports. Replica 3 is in a zone of its own: callers leave it out until they retry.
    "MESH_TELEMETRY_LOAD_REPORT_INTERVAL": "1",
    "MESH_SERVICE_CONFIG_INLINE": json.dumps({"user": weighted(False), "payment": weighted(True)}),
    "MESHMART_ZONES": "a,a,b",
    "MESH_BALANCER_PREFER_OWN_ZONE": "true",
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """The shop under load, to which everything has happened that the dashboards tell of."""
    if shutil.which("prometheus") is None:
        problem = "Prometheus is not installed; on Debian: apt install prometheus"
        pytest.fail(problem) if os.environ.get("CI") else pytest.skip(problem)
    running = RunningCluster(tmp_path_factory.mktemp("cluster") / "state", ENVIRONMENT)
    with up(running, "--replicas", "product=3", "--replicas", "loadgen=1"):
        time.sleep(SETTLE)
        # Every call fails, so that its callers surely eject it.
        fault = ("fault", "set", "product", "--method", "GetProduct", "--abort", "UNAVAILABLE")
        running.meshmart(*fault, "--replica", "2", "--for", "30s")
        fault = ("fault", "set", "product", "--method", "ListProducts", "--abort", "INTERNAL")
        running.meshmart(*fault, "--share", "0.5", "--for", "30s")
        # Their own bounds are not the matter here: that what they do is counted is looked at below.
        # The intruder tries product/1, whose counts a kill would take along before they are scraped.
        for command in (("tour", "intruder"), ("kill", "product/3"), ("rotate-certs",)):
            running.run(*command)
        running.run("load", "--rps", "10", "--duration", "10s", "--scenario", "checkout")
        _browse(running.status()["storefront"])
        time.sleep(SETTLE)
        yield running


def _browse(storefront: str) -> None:
    """A few pages, each traced, for longer than from one scrape to the next."""
    for path in ("/", "/products/1", "/search?q=lamp", "/no-such-page") * 5:
        fetch(storefront + path, traceparent=f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01")
        time.sleep(0.2)


@pytest.fixture(scope="module")
def status(cluster: RunningCluster) -> dict[str, Any]:
    return cluster.status()


@pytest.fixture(scope="module")
def prometheus(status: dict[str, Any]) -> Prometheus:
    return Prometheus(status["prometheus"], since=time.time() - 1800)


#: Reported only where the kernel counts how long a thread waits for a CPU; gVisor does not.
CPU_WAIT = "mesh_event_loop_cpu_"
EXPECTED = [e for e in EXPRESSIONS if CPU_WAIT not in e.text or Path("/proc/self/schedstat").exists()]


@pytest.mark.parametrize("expression", EXPECTED, ids=lambda e: e.id)
def test_a_panel_has_data_and_the_labels_of_its_legend(
    prometheus: Prometheus, expression: Expression
) -> None:
    series = prometheus.graph(expression.text)
    assert series, expression.text
    wanted = set(re.findall(r"{{(\w+)}}", expression.legend))
    assert all(wanted <= s["metric"].keys() for s in series), (expression.text, series[0]["metric"])


@pytest.mark.parametrize(("name", "expr"), LOOKED_AT, ids=[name for name, _ in LOOKED_AT])
def test_what_a_rule_looks_at_is_there(prometheus: Prometheus, name: str, expr: str) -> None:
    assert prometheus.graph(expr), expr


def test_prometheus_evaluates_every_rule_without_an_error(prometheus: Prometheus) -> None:
    def loaded() -> list[Rule]:
        return [rule for group in prometheus.get("rules")["groups"] for rule in group["rules"]]

    assert sorted(r["name"] for r in loaded()) == sorted(_name(r) for r in rules())
    prometheus.until(lambda: all(r["health"] != "unknown" for r in loaded()))  # not evaluated yet
    assert {r["name"]: r.get("lastError") for r in loaded() if r["health"] != "ok"} == {}


def _name(rule: Rule) -> str:
    name: str = rule.get("alert") or rule["record"]
    return name


@pytest.mark.parametrize("variable", ["namespace", "service"])
def test_the_variables_offer_what_there_is(prometheus: Prometheus, variable: str) -> None:
    match = 'mesh_serving{job="meshmart", namespace="meshmart"}'
    wanted = {"namespace": "meshmart", "service": "order"}[variable]
    assert prometheus.until(
        lambda: wanted in prometheus.get(f"label/{variable}/values", **{"match[]": match})
    )


@pytest.mark.parametrize(
    "expr",
    [
        'sum(mesh_authz_denials_total{service="product", caller!="other"})',
        'increase(replica:authz_denials:sum{service="product"}[5m])',
        'increase(mesh_tls_handshake_failures_total{service="product"}[5m])',
        'increase(mesh_certificate_reloads_total{service="order", result="success"}[5m])',
        'increase(mesh_drains_total{target="product", outcome="finished"}[5m])',
        'increase(loadgen_calls_total{code="OK"}[5m])',
        # The faults: an idempotent read is tried again elsewhere, a stream's INTERNAL reaches the caller.
        'increase(mesh_faults_injected_total{service="product", kind="abort"}[5m])',
        'increase(mesh_load_reports_total{target="user", source="call"}[5m])',
        'increase(mesh_load_reports_total{target="payment", source="stream"}[5m])',
        'mesh_endpoint_zone{target="product", zone="b"}',
        'increase(mesh_retries_total{service="loadgen", target="product"}[5m])',
        'increase(mesh_endpoint_requests_total{target="product", grpc_code="Unavailable"}[5m])',
        'grpc_service:client_faults:ratio5m{grpc_service="ecommerce.ProductService"}',
        'increase(shop_database_transactions_total{service="order", kind="write", outcome="ok"}[5m])',
        'increase(shop_database_seconds_count{service="product", kind="read"}[5m])',
        'count(ALERTS{alertstate="firing", namespace="meshmart"})',
    ],
)
def test_what_happened_is_seen(prometheus: Prometheus, expr: str) -> None:
    assert prometheus.peak(expr) > 0


def test_the_timeline_of_endpoints_shows_both_states_that_it_names(prometheus: Prometheus) -> None:
    name = "resilience: Endpoints: in rotation or ejected A"
    timeline = next(e for e in EXPRESSIONS if e.id == name)

    def shown() -> bool:
        values = {float(v) for s in prometheus.graph(timeline.text) for _, v in s["values"]}
        return values == {0.0, 1.0}

    assert prometheus.until(shown)


def test_the_call_graph_shows_who_calls_whom(prometheus: Prometheus) -> None:
    """What Grafana's own transformations make of this Prometheus's answers."""
    panel = panel_of("nodeGraph")
    callers = {("loadgen", "product"), ("storefront", "product"), ("order", "payment")}

    def drawn() -> bool:
        now = time.time()
        answers = {
            target["refId"]: prometheus.get("query", query=filled(target["expr"]), time=now)["result"]
            for target in panel["targets"]
        }
        nodes, edges = graph(panel, answers)
        calls = {(row["source"], row["target"]) for row in rows(edges)}
        return callers <= calls and {"chat", "product"} <= {row["title"] for row in rows(nodes)}

    assert prometheus.until(drawn)


CHOICES = {
    "a service": Choice("order", ()),
    "a service with streams": Choice("product", ()),
    "the pages of the storefront": Choice("storefront", ()),
    "a replica": Choice("product", (), replica="product-1"),
    "an edge": Choice("loadgen", (), target="product"),
}


def longer(status: Mapping[str, Any], choice: Choice, hours: int, called: str) -> dict[str, Any]:
    """What the console says of a choice. The last point is that of the step that has not ended yet."""
    step = hours * 3600 // console.POINTS
    provided = [f"ecommerce.{called}"] if called else []
    read = console.read(status["prometheus"], "meshmart", choice, hours, time.time() + step, provided)
    found: dict[str, Any] = json.loads(asyncio.run(read))
    return found


@pytest.mark.parametrize("hours", console.RANGES)
@pytest.mark.parametrize("name", CHOICES)
def test_the_consoles_longer_charts_have_figures(
    status: dict[str, Any], prometheus: Prometheus, name: str, hours: int
) -> None:
    def drawn() -> Any:
        points = longer(status, CHOICES[name], hours, "ProductService").get("points", ())
        return [point for point in points if point[0] and point[2]]

    points = prometheus.until(drawn)
    assert points, longer(status, CHOICES[name], hours, "ProductService")
    assert all(failing is not None for _, failing, _ in points)


def test_the_consoles_longer_charts_show_what_failed(status: dict[str, Any], prometheus: Prometheus) -> None:
    def failed() -> bool:
        points = longer(status, CHOICES["a service with streams"], 1, "").get("points", ())
        return any(failing for _, failing, _ in points)

    assert prometheus.until(failed)


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        (Choice("nobody", ()), ""),
        (Choice("order", (), replica="order-99"), ""),
        (Choice("order", (), target="nobody"), ""),
        (Choice("chat", (), target="payment"), "PaymentService"),
        (Choice('a"} or vector(1) or up{x="', (), replica="\\n\n\\"), ""),
    ],
    ids=["service", "replica", "edge to nobody", "edge without calls", "hostile"],
)
def test_a_choice_of_which_prometheus_knows_nothing_has_empty_charts(
    status: dict[str, Any], prometheus: Prometheus, choice: Choice, called: str
) -> None:
    # On a busy machine a Prometheus may be too slow for the console: then it is asked again.
    points = prometheus.until(lambda: longer(status, choice, 1, called).get("points"))
    assert points == [[None, None, None]] * console.POINTS


@pytest.mark.parametrize("expression", [e for e in EXPRESSIONS if e.exemplars], ids=lambda e: e.id)
def test_an_exemplar_leads_to_its_trace(
    status: dict[str, Any], prometheus: Prometheus, expression: Expression
) -> None:
    found = prometheus.exemplars(expression.text)
    assert found, expression.text

    def followed() -> bool:
        # A span may have been dropped or evicted; that of the last calls is there, once it has been sent.
        traces = prometheus.exemplars(expression.text)
        return any(fetch(f"{status['traces']}/api/traces/{trace}")[0] == 200 for trace in traces)

    assert prometheus.until(followed)


def test_exemplars_are_exposed_to_whoever_asks_for_openmetrics_and_to_no_one_else(
    status: dict[str, Any],
) -> None:
    metrics = status["services"]["product"]["replicas"][0]["metrics"]  # was never killed
    _, openmetrics = fetch(metrics, "application/openmetrics-text; version=1.0.0")
    assert openmetrics.endswith("# EOF\n")
    assert "# {trace_id=" in openmetrics
    assert "trace_id" not in fetch(metrics)[1]
