"""Metrics of a web edge: one observation a request, with bounded labels."""

import os
import random
import subprocess
import sys
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from grpcmesh.telemetry import HttpMetrics, MetricsMiddleware, TraceMiddleware
from grpcmesh.telemetry.http import KNOWN_METHODS, known_methods
from grpcmesh.telemetry.registry import MergedSources
from grpcmesh.telemetry.tracing import Tracer
from tests.unit.test_telemetry_tracing import ListRecorder

NAME = "http_server_request_duration_seconds"


class Page:
    """An application that answers after 0.02 s of its own time, or fails."""

    def __init__(self, route: str | None = "/products/{id}", status: int = 200) -> None:
        self._route, self._status, self.now = route, status, 5.0

    def clock(self) -> float:
        return self.now

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._route:
            scope["route"] = type("Route", (), {"path": self._route})
        self.now += 0.02
        if not self._status:
            raise RuntimeError("broken")
        await send({"type": "http.response.start", "status": self._status, "headers": []})


async def ask(page: Page, metrics: HttpMetrics, method: str = "GET", ratio: float = 0.0) -> None:
    async def keep(message: Any) -> None:
        pass

    counted = MetricsMiddleware(page, metrics, page.clock)
    traced = TraceMiddleware(counted, Tracer(ratio, ListRecorder(), random.Random(1)))
    scope = {"type": "http", "method": method, "path": "/products/1?secret", "headers": []}
    await traced(scope, None, keep)  # type: ignore[arg-type]


def samples(metrics: HttpMetrics, suffix: str) -> list[tuple[dict[str, str], float]]:
    return [(s.labels, s.value) for f in metrics.collect() for s in f.samples if s.name == NAME + suffix]


def labels(method: str, route: str, status: str) -> dict[str, str]:
    return {"http_request_method": method, "http_route": route, "http_response_status_code": status}


async def test_a_request_counts_once_under_its_route_with_its_time() -> None:
    metrics = HttpMetrics()
    await ask(Page(), metrics)
    await ask(Page(), metrics)
    assert samples(metrics, "_count") == [(labels("GET", "/products/{id}", "200"), 2)]
    [(_, seconds)] = samples(metrics, "_sum")
    assert seconds == pytest.approx(0.04)


async def test_what_a_stranger_sends_makes_no_labels() -> None:
    metrics = HttpMetrics()
    for method in ("BREW", "PROPFIND"):
        await ask(Page(route=None, status=404), metrics, method)
    assert samples(metrics, "_count") == [(labels("_OTHER", "", "404"), 2)]


@pytest.mark.parametrize(
    ("variable", "known", "unknown"),
    [
        (None, {"GET", "QUERY"}, {"BREW", "get", ""}),
        ("", {"GET"}, {"BREW", ""}),
        (" , ", {"GET"}, {"BREW", ""}),
        ("GET, BREW,", {"GET", "BREW"}, {"POST", "brew", ""}),
    ],
)
def test_the_known_methods_are_those_of_opentelemetrys_variable(
    variable: str | None, known: set[str], unknown: set[str]
) -> None:
    methods = known_methods({} if variable is None else {KNOWN_METHODS: variable})
    assert known <= methods
    assert not unknown & methods


def test_the_variable_counts_in_a_process() -> None:
    program = "from grpcmesh.telemetry.http import METHODS; print(sorted(METHODS))"
    environ = {**os.environ, KNOWN_METHODS: "GET,BREW"}
    done = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True)
    assert done.stdout.strip() == "['BREW', 'GET']", done.stderr


async def test_a_request_that_breaks_off_counts_too() -> None:
    metrics = HttpMetrics()
    with pytest.raises(RuntimeError):
        await ask(Page(status=0), metrics)
    assert samples(metrics, "_count") == [(labels("GET", "/products/{id}", "0"), 1)]


@pytest.mark.parametrize(("ratio", "shown"), [(1.0, True), (0.0, False)])
async def test_an_exemplar_names_the_trace_where_it_is_recorded(ratio: float, shown: bool) -> None:
    metrics, sources, registry = HttpMetrics(), MergedSources(), CollectorRegistry(auto_describe=False)
    sources.add(metrics)
    registry.register(sources)
    await ask(Page(), metrics, ratio=ratio)
    assert ("# {trace_id=" in generate_latest(registry).decode()) is shown
