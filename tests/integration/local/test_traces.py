"""The trace store as the process that the cluster starts, fed by the real exporter."""

import asyncio
import contextlib
import re
import signal
import sys
from collections.abc import AsyncIterator

import httpx

from grpcmesh.config import MeshConfig, TelemetryConfig
from grpcmesh.telemetry import LineWriter, Telemetry, annotate
from local.traces.server import TraceServer


async def start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "local.traces", *arguments,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


@contextlib.asynccontextmanager
async def running() -> AsyncIterator[tuple[asyncio.subprocess.Process, int, int]]:
    process = await start("--otlp", "127.0.0.1:0", "--http", "127.0.0.1:0")
    try:
        assert process.stdout is not None
        line = (await asyncio.wait_for(process.stdout.readline(), 20)).decode()
        ports = re.fullmatch(r"traces: otlp port (\d+), http port (\d+)\n", line)
        assert ports is not None, line
        yield process, int(ports[1]), int(ports[2])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def export_order(otlp_port: int) -> str:
    """One trace with two spans, sent as a service does it; returns its id."""
    settings = TelemetryConfig(sample_ratio=1.0, otlp_endpoint=f"http://127.0.0.1:{otlp_port}")
    telemetry = Telemetry(MeshConfig("order", "order-1", telemetry=settings), writer=LineWriter(2))
    with telemetry.span("place order") as step:
        annotate(order_id=7)
        with telemetry.span("charge"):
            pass
    await telemetry.aclose()
    return step.trace.trace_id


async def test_what_a_service_exports_is_found_by_attribute_and_shown_as_a_page() -> None:
    async with running() as (_, otlp, http_port):
        trace_id = await export_order(otlp)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{http_port}", timeout=60) as http:
            found = (await http.get("/api/traces", params={"attr": "order.id=7"})).json()["traces"]
            shown = (await http.get(f"/api/traces/{trace_id}")).json()
            page = await http.get(f"/trace/{trace_id}")
    assert [trace["trace_id"] for trace in found] == [trace_id]
    parent, child = shown["spans"]
    assert (parent["name"], child["name"]) == ("place order", "charge")
    assert child["parent_id"] == parent["span_id"]
    assert (child["service"], child["replica"]) == ("order", "order-1")
    assert page.status_code == 200


async def test_sigterm_ends_it_with_success_though_a_browser_is_connected() -> None:
    async with running() as (process, _, http_port), httpx.AsyncClient(timeout=60) as browser:
        await browser.get(f"http://127.0.0.1:{http_port}/")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_a_taken_port_is_told_in_one_line() -> None:
    async with TraceServer("127.0.0.1:0", "127.0.0.1:0") as first:
        for otlp, http, words in (
            (0, first.http_port, f"traces port 127.0.0.1:{first.http_port}: Address already in use"),
            (first.otlp_port, 0, f"OTLP port 127.0.0.1:{first.otlp_port}: cannot listen"),
        ):
            process = await start("--otlp", f"127.0.0.1:{otlp}", "--http", f"127.0.0.1:{http}")
            _, stderr = await asyncio.wait_for(process.communicate(), 20)
            assert process.returncode == 1
            assert stderr.decode().splitlines()[-1].endswith(words)
