"""The console's figures of the running shop are those of its processes.

Rates, success, p99, shares and retries are computed anew from the very pages that the console has read. The
numbers of calls that the served console tells are compared with what the processes say when calls have ended.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest

from grpcmesh.clock import monotonic
from meshmart import scrape
from meshmart.console import frame
from meshmart.console.poller import Poller
from meshmart.console.schedule import Budget
from meshmart.embedded import EmbeddedCluster
from tests.e2e.conftest import RunningCluster
from tests.e2e.console_readings import (
    CALL_BUCKETS,
    CALLED,
    SERVE_BUCKETS,
    SERVED,
    STARTED,
    Readings,
    Series,
    code_of,
    counts,
    frame_codes,
    has_failed,
    parsed,
    providers,
)

#: Seconds that anything may take on a loaded machine.
PATIENCE = 300.0
PATHS = ("/", "/products/1", "/search?q=lamp", "/products/999999")
_SELECTION = urlencode([("name[]", name) for name in (*SERVED, *CALLED, STARTED)])
Frame = dict[str, Any]


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` beside the block."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def visitors(cluster: RunningCluster) -> AsyncIterator[None]:
    """Visitors of the storefront inside the block, who also ask for what does not exist."""

    async def visit() -> None:
        async with httpx.AsyncClient(base_url=cluster.storefront, timeout=PATIENCE) as client:
            while True:
                for path in PATHS:
                    with suppress(httpx.HTTPError):
                        await client.get(path)
                await asyncio.sleep(0.1)

    async with beside(visit()):
        yield


def about(value: float | None) -> Any:
    """A figure as a frame has it: to four digits."""
    return None if not value else pytest.approx(value, rel=2e-3)


def same_calls(of: Mapping[str, Any], codes: Mapping[str, list[float]], p99: list[float | None]) -> None:
    rate, calls = (sum(values[i] for values in codes.values()) for i in (0, 1))
    failing, failed = (sum(v[i] for code, v in codes.items() if has_failed(code)) for i in (0, 1))
    assert of.get("rate") == about(rate), of
    assert of.get("failing_rate") == about(failing), of
    assert (of.get("calls", 0), of.get("failures", 0)) == (calls, failed), of
    assert any(of.get("p99") == about(value) for value in p99), (of, p99)
    told = {code: (rate, calls) for code, rate, calls in of.get("codes", ())}
    wanted = {c: (about(v[0]) if v[0] else 0, v[1]) for c, v in codes.items() if c != "OK"}
    assert told == wanted, of


def same(told: Frame, readings: Readings) -> None:
    """Compare every service, replica and edge of a frame with the pages that it was made of."""
    for service in told["services"]:
        names = [replica["name"] for replica in service["replicas"]]
        codes = readings.total(names, SERVED, lambda _: True)
        same_calls(service, codes, readings.p99(names, SERVE_BUCKETS, lambda _: True))
        whole = sum(rate for rate, _ in codes.values())
        for replica in service["replicas"]:
            own = readings.total([replica["name"]], SERVED, lambda _: True)
            same_calls(replica, own, readings.p99([replica["name"]], SERVE_BUCKETS, lambda _: True))
            rate = sum(rate for rate, _ in own.values())
            assert replica.get("share") == about(rate / whole if whole else None), replica
    provided = providers({name: readings.last(name) for name in readings.pages})
    for edge in told["edges"]:
        callers = [name for name in readings.pages if name.rpartition("-")[0] == edge["source"]]

        def to(labels: Mapping[str, str], target: str = edge["target"]) -> bool:
            return provided.get(labels["grpc_service"]) == target

        same_calls(edge, readings.total(callers, CALLED, to), readings.p99(callers, CALL_BUCKETS, to))
        for key, metric in (("retries", "mesh_retries_total"), ("hedges", "mesh_hedges_total")):
            assert edge.get(key) == about(readings.gauge(callers, metric, edge["target"])), edge
        for key in ("budget_spent", "budget_allowed"):
            metric = f"mesh_retry_{key}"
            assert edge.get(key, 0) == int(readings.gauge(callers, metric, edge["target"], rate=False)), edge


def shown(told: Frame) -> set[str]:
    """What a frame has figures of, in the last ten seconds."""
    edges = {(e["source"], e["target"]): e for e in told["edges"]}
    services = {s["name"]: s for s in told["services"]}
    found = {code for s in services.values() for code, rate, _ in s.get("codes", ()) if rate}
    if edges.get(("storefront", "product"), {}).get("p99") and services["product"].get("p99"):
        found.add("p99")
    return found


async def test_every_figure_is_computed_from_what_the_processes_say(cluster: RunningCluster) -> None:
    readings, missing = Readings(), {"NotFound", "404", "p99"}
    async with EmbeddedCluster(cluster.state_dir) as shop, visitors(cluster):
        poller = Poller(shop, Budget(interval=0.5), monotonic, time.time)
        read = poller.observer.page

        def page(name: str, text: str, at: float) -> None:
            read(name, text, at)
            readings.add(name, text, at)

        poller.observer.page = page  # type: ignore[method-assign]
        async with beside(poller.run()):
            with poller.hub.viewer() as viewer:
                end = monotonic() + PATIENCE
                while missing:
                    assert monotonic() < end, missing
                    async with asyncio.timeout(PATIENCE):
                        await viewer.next()
                    snapshot = poller.observer.snapshot(monotonic(), time.time())
                    told = json.loads(frame.encode(snapshot, [], {}))
                    if shown(told) & missing:
                        same(told, readings)
                        missing -= shown(told)


Counted = dict[tuple[str, ...], dict[str, float]]
"""The number of calls by code, of each service, replica and edge."""


def counted_by_the_console(told: Frame) -> Counted:
    found: Counted = {}
    for service in told["services"]:
        found[(service["name"],)] = frame_codes(service)
        for replica in service["replicas"]:
            found[service["name"], replica["name"]] = frame_codes(replica)
    for edge in told["edges"]:
        found["edge", edge["source"], edge["target"]] = frame_codes(edge)
    return {name: codes for name, codes in found.items() if codes}


def counted_by_the_processes(pages: Mapping[str, Series]) -> Counted:
    found: Counted = {}
    provided = providers(pages)

    def add(name: tuple[str, ...], code: str, calls: float) -> None:
        codes = found.setdefault(name, {})
        codes[code] = codes.get(code, 0.0) + calls

    for replica, page in pages.items():
        service = replica.rpartition("-")[0]
        for code, calls in counts(page, SERVED, code_of).items():
            add((service,), code, calls)
            add((service, replica), code, calls)
        for about, calls in counts(page, CALLED, lambda a: f"{a['grpc_service']} {a['grpc_code']}").items():
            name, code = about.split(" ")
            if name in provided:
                add(("edge", service, provided[name]), code, calls)
    return found


async def scraped(status: Mapping[str, Any]) -> Counted:
    """The counters of every process of the shop, from its admin port."""
    ports = {
        f"{service}-{replica['id']}": replica["metrics"]
        for service, of in status["services"].items()
        for replica in of["replicas"]
    }
    texts = await asyncio.gather(*(scrape.fetch(f"{url}?{_SELECTION}", PATIENCE) for url in ports.values()))
    return counted_by_the_processes({name: parsed(t) for name, t in zip(ports, texts, strict=True)})


@asynccontextmanager
async def watching(page: httpx.AsyncClient) -> AsyncIterator[None]:
    """Look at the console inside the block, so that it reads often."""

    async def read() -> None:
        async with page.stream("GET", "/events") as stream:
            async for _ in stream.aiter_bytes():
                pass

    async with beside(read()):
        yield


async def test_the_served_console_counts_what_the_processes_count(cluster: RunningCluster) -> None:
    """A few calls go on without visitors, so each number is compared at a moment when it stands still."""
    async with httpx.AsyncClient(base_url=cluster.storefront, timeout=PATIENCE) as visitor:
        for path in PATHS:
            await visitor.get(path)
    status = cluster.status()
    different: dict[tuple[str, ...], Any] = {}
    equal: set[tuple[str, ...]] = set()
    async with (
        EmbeddedCluster(cluster.state_dir) as shop,
        httpx.AsyncClient(base_url=status["console"], timeout=PATIENCE) as page,
        watching(page),
    ):
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not equal or different:
                    status = await shop.status()
                    before = await scraped(status)
                    told = counted_by_the_console((await page.get("/api/state")).json())
                    after = await scraped(status)
                    for name in before.keys() | told.keys():
                        if before.get(name) == after.get(name) == told.get(name):
                            equal.add(name)
                    pairs = {name: (before.get(name), told.get(name)) for name in before.keys() | told.keys()}
                    different = {name: pair for name, pair in pairs.items() if name not in equal}
    assert different == {}
    assert {("product",), ("product", "product-1"), ("edge", "storefront", "product")} <= equal
