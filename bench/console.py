"""What the console costs: script per update, its CPU, what it asks of the mesh, what it sends to viewers.

    python -m bench.console                 # 9 services of 3 replicas, 60 of 50; with 1 and 20 viewers
    python -m bench.console --mesh 60x50 --viewers 1 --seconds 30 --picture map.png

Simulated admin ports (bench/simulated.py) and the console run in processes of their own, on loopback. One
viewer is a Chromium, the others read the stream and count its bytes. Every loop ends with the seconds.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from playwright.async_api import Page, async_playwright

from bench.processes import cpu_seconds
from bench.simulated import SHOP, SimulatedMesh, chains
from grpcmesh.admin.access import Access
from grpcmesh.clock import monotonic
from grpcmesh.config import AdminConfig
from grpcmesh.http import HttpLimits, HttpServer
from meshmart.console.poller import Poller
from meshmart.console.schedule import Budget
from meshmart.console.web import console_app

CHROMIUM = os.environ.get("MESHMART_CHROMIUM", "/usr/bin/chromium")
#: Counts in the page: pictures drawn, and tasks of more than 50 ms (https://www.w3.org/TR/longtasks/).
_COUNT = """() => {
  const seen = window.seen = { frames: 0, long: 0, longest: 0 };
  const note = (task) => { seen.long++; seen.longest = Math.max(seen.longest, task.duration); };
  new PerformanceObserver((list) => list.getEntries().forEach(note)).observe({ type: "longtask" });
  const next = () => { seen.frames++; requestAnimationFrame(next); };
  requestAnimationFrame(next);
}"""


@dataclass(frozen=True)
class Figures:
    """Of one run, per second where nothing else is said; in the page, CPU time of its main thread."""

    mesh: str
    viewers: int
    updates: float
    script_ms_per_update: float
    layout_ms_per_update: float
    task_ms_per_update: float
    long_tasks: int
    longest_task_ms: float
    pictures: float
    console_cpu_percent: float
    console_mb: float
    requests: float
    mb_read: float
    kb_per_viewer: float


def mesh_of(name: str) -> SimulatedMesh:
    services, replicas = (int(part) for part in name.split("x"))
    return SimulatedMesh(SHOP if services == len(SHOP) else chains(services), replicas)


class _Told:
    """A cluster whose status never changes."""

    def __init__(self, status: dict[str, Any]) -> None:
        self._status = status

    async def status(self) -> dict[str, Any]:
        return self._status


def _ports(name: str, pipe: Connection) -> None:
    """Serve the admin ports of a mesh; answer each message with what was asked of them."""

    async def run() -> None:
        mesh = mesh_of(name)
        await mesh.start()
        pipe.send(await mesh.status())
        while await asyncio.to_thread(pipe.recv):
            pipe.send(asdict(mesh.traffic))
        await mesh.aclose()

    asyncio.run(run())


def _console(status: dict[str, Any], pipe: Connection) -> None:
    """Serve the console until told to stop."""

    async def run() -> None:
        poller = Poller(_Told(status), Budget(), monotonic, time.time)
        closing, local = asyncio.Event(), AdminConfig(address="127.0.0.1:0")
        app = console_app(poller.hub, poller.history, Access(local), closing)
        server = HttpServer(app, local.address, "console", HttpLimits(write_timeout=20.0))
        await server.start()
        pipe.send(server.port)
        polling = asyncio.create_task(poller.run())
        await asyncio.to_thread(pipe.recv)
        closing.set()
        polling.cancel()
        await asyncio.gather(polling, return_exceptions=True)
        await server.aclose()

    asyncio.run(run())


class _Process:
    """A child with a pipe, for `with`."""

    def __init__(self, target: Any, *arguments: Any) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, other = context.Pipe()
        self._process = context.Process(target=target, args=(*arguments, other), daemon=True)

    def __enter__(self) -> "_Process":
        self._process.start()
        self.first = self.pipe.recv()
        return self

    def __exit__(self, *error: object) -> None:
        self.pipe.send(None)
        self._process.join(30)
        self._process.kill()

    def cpu(self) -> float:
        """Return the seconds of CPU that it has used."""
        return cpu_seconds(self._process.pid)

    def megabytes(self) -> float:
        resident = Path(f"/proc/{self._process.pid}/statm").read_text().split()[1]
        return int(resident) * os.sysconf("SC_PAGE_SIZE") / 1e6


class _Viewer:
    """Reads the stream as a browser does, and counts the bytes."""

    def __init__(self) -> None:
        self.read = 0

    async def follow(self, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /events HTTP/1.1\r\nhost: 127.0.0.1\r\naccept-encoding: gzip\r\n\r\n")
        try:
            while some := await reader.read(65536):
                self.read += len(some)
        finally:
            writer.close()


async def measure(name: str, viewers: int, seconds: float, picture: Path | None) -> Figures:
    """Run one mesh with so many viewers."""
    with _Process(_ports, name) as ports, _Process(_console, ports.first) as console:
        others = [_Viewer() for _ in range(viewers - 1)]
        async with async_playwright() as playwright:
            browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = await browser.new_page(viewport={"width": 1440, "height": 900})
            await page.goto(f"http://127.0.0.1:{console.first}/", wait_until="domcontentloaded")
            await page.wait_for_selector(".edge.busy", timeout=300_000, state="attached")
            following = [asyncio.create_task(v.follow(console.first)) for v in others]
            await asyncio.sleep(5)
            try:
                figures = await _figures(page, name, viewers, seconds, ports, console, others)
                if picture:
                    await page.screenshot(path=picture)
            finally:
                for task in following:
                    task.cancel()
                await asyncio.gather(*following, return_exceptions=True)
                await browser.close()
        return figures if others else replace(figures, kb_per_viewer=await _alone(console.first, seconds))


async def _alone(port: int, seconds: float) -> float:
    """Return the kB a second that one viewer gets: Chromium does not tell the packed size of a stream."""
    viewer = _Viewer()
    following = asyncio.create_task(viewer.follow(port))
    await asyncio.sleep(seconds)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return round(viewer.read / seconds / 1e3, 1)


async def _figures(
    page: Page,
    name: str,
    viewers: int,
    seconds: float,
    ports: _Process,
    console: _Process,
    others: list[_Viewer],
) -> Figures:
    devtools = await page.context.new_cdp_session(page)
    # Time on the CPU, which other work on the machine does not lengthen.
    await devtools.send("Performance.enable", {"timeDomain": "threadTicks"})
    await page.evaluate("() => { window.updates = 0; addEventListener('console-update', () => updates++); }")
    await page.evaluate(_COUNT)
    before, began = await _state(devtools, ports, console, others), time.monotonic()
    await asyncio.sleep(seconds)
    after, took = await _state(devtools, ports, console, others), time.monotonic() - began
    seen = await page.evaluate("() => ({ ...window.seen, updates: window.updates })")
    used = {key: after[key] - before[key] for key in after}
    updates = max(1, seen["updates"])
    per_viewer = used["streamed"] / max(1, len(others))
    return Figures(
        mesh=name,
        viewers=viewers,
        updates=round(updates / took, 2),
        script_ms_per_update=round(1000 * used["ScriptDuration"] / updates, 1),
        layout_ms_per_update=round(
            1000 * (used["LayoutDuration"] + used["RecalcStyleDuration"]) / updates, 1
        ),
        task_ms_per_update=round(1000 * used["TaskDuration"] / updates, 1),
        long_tasks=seen["long"],
        longest_task_ms=round(seen["longest"]),
        pictures=round(seen["frames"] / took, 1),
        console_cpu_percent=round(100 * used["cpu"] / took, 1),
        console_mb=round(console.megabytes()),
        requests=round(used["requests"] / took, 1),
        mb_read=round(used["sent"] / took / 1e6, 2),
        kb_per_viewer=round(per_viewer / took / 1e3, 1),
    )


async def _state(
    devtools: Any, ports: _Process, console: _Process, others: Sequence[_Viewer]
) -> dict[str, float]:
    metrics = (await devtools.send("Performance.getMetrics"))["metrics"]
    ports.pipe.send(True)
    wanted = ("ScriptDuration", "LayoutDuration", "RecalcStyleDuration", "TaskDuration")
    return (
        {m["name"]: m["value"] for m in metrics if m["name"] in wanted}
        | await asyncio.to_thread(ports.pipe.recv)
        | {"cpu": console.cpu(), "streamed": sum(v.read for v in others)}
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mesh", action="append", help="SERVICESxREPLICAS")
    parser.add_argument("--viewers", action="append", type=int)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--picture", type=Path)
    options = parser.parse_args()
    for name in options.mesh or ["9x3", "60x50"]:
        for viewers in options.viewers or [1, 20]:
            figures = asyncio.run(measure(name, viewers, options.seconds, options.picture))
            print(json.dumps(asdict(figures)), flush=True)


if __name__ == "__main__":
    main()
