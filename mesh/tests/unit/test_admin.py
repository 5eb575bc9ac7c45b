"""The admin app without a port."""

import base64
import hashlib
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from grpcmesh.admin import admin_app
from grpcmesh.admin.page import render

STATE: dict[str, Any] = {
    "service": "order",
    "replica": "order-1",
    "certificate": {"workload": "spiffe://x/ns/y/sa/order", "serial": 42, "not_after": 10_000.0},
    "targets": [
        {
            "target": "product",
            "policy": "round_robin",
            "endpoints": [
                {"address": "127.0.1.1:50051", "state": "READY", "in_flight": 2, "picks": 30},
                {"address": "127.0.1.2:50051", "state": "ejected", "in_flight": 0, "picks": 10},
            ],
        }
    ],
}


@pytest.fixture
def client() -> httpx.AsyncClient:
    registry = CollectorRegistry()
    counter = Counter("mesh_picks", "Picks.", registry=registry)
    counter.inc(exemplar={"trace_id": "ab" * 16})
    transport = httpx.ASGITransport(admin_app(registry, lambda: STATE))
    return httpx.AsyncClient(transport=transport, base_url="http://admin")


async def test_metrics_come_as_prometheus_text_by_default(client: httpx.AsyncClient) -> None:
    response = await client.get("/metrics")
    assert response.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert next(f.name for f in text_string_to_metric_families(response.text)) == "mesh_picks"


async def test_metrics_come_as_openmetrics_with_exemplars_when_asked(client: httpx.AsyncClient) -> None:
    accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    response = await client.get("/metrics", headers={"accept": accept})
    assert response.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    samples = [s for family in parse_openmetrics(response.text) for s in family.samples]
    assert samples[0].exemplar.labels == {"trace_id": "ab" * 16}


async def test_the_state_is_there_as_json(client: httpx.AsyncClient) -> None:
    assert (await client.get("/state.json")).json() == STATE


async def test_the_settings_are_there_as_json_if_there_are_any(client: httpx.AsyncClient) -> None:
    assert (await client.get("/settings.json")).status_code == 404
    told = {"": [{"name": "MESH_SERVICE", "value": "order", "source": "environment"}]}
    app = admin_app(CollectorRegistry(), lambda: STATE, settings=lambda: told)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin") as other:
        assert (await other.get("/settings.json")).json() == told


async def test_nothing_else_is_there_and_nothing_can_be_changed(client: httpx.AsyncClient) -> None:
    assert (await client.get("/metrics/x")).status_code == 404
    refused = await client.post("/metrics")
    assert refused.status_code == 405
    assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD"}
    head = await client.head("/state.json")
    assert (head.status_code, head.content) == (200, b"")


async def test_the_page_shows_targets_endpoints_and_certificate(client: httpx.AsyncClient) -> None:
    page = (await client.get("/")).text
    for text in (
        "order-1",
        "→ product",
        "round_robin",
        "127.0.1.2:50051",
        "75.0 %",
        "spiffe://x/ns/y/sa/order",
    ):
        assert text in page
    assert '<span class="pill good">READY</span>' in page
    assert '<span class="pill bad">ejected</span>' in page


@pytest.mark.parametrize(
    ("now", "pill"),
    [(10_000.0, 'bad">expired'), (9_900.0, 'warn">100 s left'), (2_800.0, 'good">2 h left')],
)
def test_the_certificates_age_is_told(now: float, pill: str) -> None:
    assert f'class="pill {pill}' in render(STATE, now)


def test_the_page_fetches_nothing_from_elsewhere_and_escapes_what_it_shows() -> None:
    page = render({"service": "<script>alert(1)</script>", "targets": [{"target": "<b>", "endpoints": []}]})
    assert "alert(1)</script>" not in page
    assert page.count("<script") == 1
    assert "<b>" not in page
    assert "http" not in page


async def test_the_page_allows_its_own_script_and_no_other(client: httpx.AsyncClient) -> None:
    answer = await client.get("/")
    script = answer.text.split('<script type="module">')[1].partition("</script>")[0]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in answer.headers["content-security-policy"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]


def test_a_process_without_certificate_or_targets_has_a_page_too() -> None:
    page = render({"service": "product", "replica": ""})
    assert "speaks plaintext" in page
    assert "calls no other service" in page


async def test_a_reader_may_select_samples_by_name() -> None:
    registry = CollectorRegistry()
    Counter("mesh_picks", "Picks.", registry=registry).inc(3)
    Counter("mesh_hedges", "Hedges.", registry=registry)
    transport = httpx.ASGITransport(admin_app(registry, lambda: STATE))
    async with httpx.AsyncClient(transport=transport, base_url="http://admin") as client:
        query = {"name[]": ["mesh_picks_total", "mesh_unknown"]}
        response = await client.get("/metrics", params=query)
        openmetrics = await client.get(
            "/metrics", params=query, headers={"accept": "application/openmetrics-text;version=1.0.0"}
        )
        nothing = await client.get("/metrics", params={"name[]": "mesh_unknown"})
    samples = [s for family in text_string_to_metric_families(response.text) for s in family.samples]
    assert [(s.name, s.value) for s in samples] == [("mesh_picks_total", 3.0)]
    assert [f.name for f in parse_openmetrics(openmetrics.text)] == ["mesh_picks"]
    assert (nothing.status_code, nothing.text) == (200, "")
