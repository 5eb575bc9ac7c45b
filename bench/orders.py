"""Measures orders per second and CPU per order, by database, and where the time of an order goes.

    python -m bench.orders [--rounds 5] [--orders 100] [--workers 8] [--postgres URL] [--against DIR] [--json]

A shop on SQLite and one on PostgreSQL run at the same time, with one replica of each service, and take
turns, so that a noisy machine is noisy for both. Orders per second is the median over the rounds; CPU is
user plus system time of all replicas and of PostgreSQL, over all rounds. Without --postgres it starts a
server of its own, where PostgreSQL is installed; without that, SQLite is measured alone. With --against
the shop of another checkout of this repository takes turns with it, to compare before and after.

The breakdown comes from the spans of sampled orders. `self` is a span's time without that of the spans within
it, so the column adds up to what the buyer waits, except for steps that run in parallel.
"""

import argparse
import asyncio
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import cpu_seconds
from local.catalog import SHOP
from meshmart.chaos import OrderRun, order_many
from meshmart.embedded import EmbeddedCluster
from meshmart.operator import join
from services.loadgen.report import percentile
from services.loadgen.shop import Shop as Buyers
from tests.postgres import binaries, throwaway

#: The share of the orders that is traced.
SAMPLED = 0.1
#: Seconds after which every span has been sent.
FLUSHED = 8.0
HERE = Path(__file__).resolve().parents[1]
_TRACES = 400


@dataclass
class Shop:
    """One database's shop and its figures."""

    name: str
    state_dir: Path
    postgres: bool
    buyers: Buyers | None = None
    runs: list[OrderRun] = field(default_factory=list)
    #: CPU seconds by service.
    cpu: Counter[str] = field(default_factory=Counter)

    async def round(self, orders: int, workers: int) -> None:
        """Place orders, and record their figures."""
        assert self.buyers is not None
        before = await self._seconds()
        self.runs.append(await order_many(self.buyers, orders, workers=workers))
        for service, seconds in (await self._seconds()).items():
            self.cpu[service] += seconds - before.get(service, 0.0)  # type: ignore[assignment]

    async def _seconds(self) -> dict[str, float]:
        status = await EmbeddedCluster(self.state_dir).status()
        seconds = {
            name: sum(_cpu(r["pid"]) for r in service["replicas"] if r["pid"])
            for name, service in status["services"].items()
        }
        return seconds | ({"postgres": _postgres_cpu()} if self.postgres else {})

    async def pid(self) -> int:
        """Return the process id of a replica."""
        status = await EmbeddedCluster(self.state_dir).status()
        return int(status["services"]["order"]["replicas"][0]["pid"])

    def figures(self) -> dict[str, Any]:
        """Return the figures for the table."""
        orders = sum(len(s.asked) for s in self.runs)
        waits = sorted(a.seconds for s in self.runs for a in s.asked)
        return {
            "orders": orders,
            "not accepted": orders - sum(len(s.accepted) for s in self.runs),
            "orders/s": round(statistics.median(s.wanted / s.seconds for s in self.runs), 1),
            "p50 ms": round(percentile(waits, 0.5) * 1000, 1),
            "p99 ms": round(percentile(waits, 0.99) * 1000, 1),
            "CPU ms/order": round(sum(self.cpu.values()) / orders * 1000, 1),
            "CPU ms/order by service": {
                name: round(seconds / orders * 1000, 1)
                for name, seconds in self.cpu.most_common()
                if seconds / orders >= 0.0001
            },
        }


def otlp(pid: int) -> str:
    """Return the endpoint to which a replica sends its spans.

    We send ours there, too, because a trace begins here and we decide what is sampled.
    """
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(v.split("=", 1) for v in variables if "=" in v)["OTEL_EXPORTER_OTLP_ENDPOINT"]


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process; 0 if it has ended."""
    try:
        return cpu_seconds(pid)
    except OSError:
        return 0.0


def _postgres_cpu() -> float:
    """Return the CPU seconds of every PostgreSQL process of the machine, without those that have ended."""
    total = 0.0
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == "postgres":
                total += _cpu(int(path.parent.name))
        except OSError:
            continue
    return total


# -- where the time goes ------------------------------------------------------------------------


def breakdown(traces: list[dict[str, Any]]) -> list[tuple[str, float, float, float]]:
    """Return for each span its name, its number per order, its milliseconds per order, and its own
    milliseconds.
    """
    times: defaultdict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for trace in traces:
        for span in trace["spans"]:
            inner = [s for s in trace["spans"] if s["parent_id"] == span["span_id"]]
            row = times[f"{span['service']} {span['kind']} {span['name']}"]
            row[0] += 1
            row[1] += span["end"] - span["start"]
            row[2] += span["end"] - span["start"] - covered(span, inner)
    count = len(traces) or 1
    rows = [
        (name, n / count, all_ / count * 1000, own / count * 1000) for name, (n, all_, own) in times.items()
    ]
    return sorted(rows, key=lambda row: -row[3])


def covered(span: Mapping[str, Any], inner: list[dict[str, Any]]) -> float:
    """Return the seconds of a span in which at least one of its child spans runs."""
    total, end = 0.0, span["start"]
    for each in sorted(inner, key=lambda s: s["start"]):
        begin, until = max(each["start"], end), min(each["end"], span["end"])
        if until > begin:
            total, end = total + until - begin, until
    return float(total)


def orders_traced(url: str) -> list[dict[str, Any]]:
    """Return the traces of orders in the store, with their spans."""
    found = _get(f"{url}/api/traces?service=payment&limit={_TRACES}")["traces"]
    ids = [trace["trace_id"] for trace in found if "CreateOrder" in trace["root"]]
    return [_get(f"{url}/api/traces/{trace_id}") for trace_id in ids]


def _get(url: str) -> dict[str, Any]:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=10) as reply:
        answer: dict[str, Any] = json.loads(reply.read())
    return answer


# -- the shops ----------------------------------------------------------------------------------


@contextmanager
def running(name: str, url: str, checkout: Path = HERE) -> Iterator[Shop]:
    """Yield a shop with one replica of each service. If given, `url` is its MESHMART_DATABASE_URL."""
    with tempfile.TemporaryDirectory(prefix="meshmart-bench-") as directory:
        environ = {**os.environ, "MESHMART_LOOPBACK": f"127.{random.randrange(100, 250)}"}
        environ["PYTHONPATH"] = os.pathsep.join([str(checkout), str(checkout / "protos")])
        environ.pop("MESHMART_DATABASE_URL", None)
        if url:
            environ["MESHMART_DATABASE_URL"] = url
        command = [str(_python(checkout)), "-m", "meshmart"]
        counts = [f"--replicas={spec.name}=1" for spec in SHOP.values() if spec.replicas]
        own = ["--state-dir", directory]
        up = [*command, "up", "--detach", "--port", str(_free_port()), *counts, *own]
        try:
            subprocess.run(up, check=True, env=environ, cwd=checkout, stdout=subprocess.DEVNULL)
            yield Shop(name, Path(directory), bool(url))
        finally:
            down = [*command, "down", *own]
            subprocess.run(down, check=False, env=environ, cwd=checkout, stderr=subprocess.DEVNULL)


def _python(checkout: Path) -> Path:
    """Return another checkout's own interpreter, if it has one, because its dependencies may differ."""
    own = checkout / ".venv" / "bin" / "python"
    return own if checkout != HERE and own.exists() else Path(sys.executable)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def postgres(url: str) -> Iterator[str]:
    """Yield the URL of a PostgreSQL: the given one, or of a server of our own; empty if there is none."""
    programs = binaries()
    if url or programs is None:
        yield url
        return
    with throwaway(programs) as server:
        yield server.url("postgres")


async def measure(shops: list[Shop], rounds: int, orders: int, workers: int) -> None:
    """Run rounds in turns, after a warm-up that does not count."""
    async with AsyncExitStack() as stack:
        for shop in shops:
            os.environ["MESH_TELEMETRY_SAMPLE_RATIO"] = str(SAMPLED)
            os.environ["MESH_TELEMETRY_OTLP_ENDPOINT"] = otlp(await shop.pid())
            joined = await stack.enter_async_context(join(shop.state_dir))
            shop.buyers = Buyers(joined.member.channel)
            await order_many(shop.buyers, max(10, orders // 5), workers=workers)
        for number in range(rounds):
            for shop in shops:
                await shop.round(orders, workers)
                rate = shop.runs[-1].wanted / shop.runs[-1].seconds
                print(f"round {number + 1} {shop.name}: {rate:.1f} orders/s", file=sys.stderr, flush=True)


def show(results: dict[str, dict[str, Any]], spans: dict[str, list[tuple[str, float, float, float]]]) -> None:
    """Print the tables."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=110)
    table = Table("", *results, title="Orders by database")
    for figure in ("orders", "not accepted", "orders/s", "p50 ms", "p99 ms", "CPU ms/order"):
        table.add_row(figure, *(str(r[figure]) for r in results.values()))
    by_service = "CPU ms/order by service"
    for service in dict.fromkeys(name for r in results.values() for name in r[by_service]):
        table.add_row(f"  {service}", *(str(r[by_service].get(service, "")) for r in results.values()))
    console.print(table)
    for name, rows in spans.items():
        where = Table("span", "an order", "ms", "self ms", title=f"Where the time of an order goes: {name}")
        for row in rows[:15]:
            where.add_row(row[0], *(f"{value:.1f}" for value in row[1:]))
        console.print(where)


def main() -> int:
    """Run the benchmark, and return the exit status."""
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--orders", type=int, default=100, help="orders in a round")
    parser.add_argument("--workers", type=int, default=8, help="orders in flight")
    parser.add_argument("--postgres", default="", help="URL (postgresql://…) of an empty database")
    parser.add_argument(
        "--against", type=Path, help="a second checkout to compare with; needs our own PostgreSQL"
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    checkouts = {"": HERE} | ({" of the other": options.against.resolve()} if options.against else {})
    with ExitStack() as stack:
        shops = []
        for whose, checkout in checkouts.items():
            shops.append(stack.enter_context(running(f"SQLite{whose}", "", checkout)))
            if url := stack.enter_context(postgres(options.postgres)):
                shops.append(stack.enter_context(running(f"PostgreSQL{whose}", url, checkout)))
        asyncio.run(measure(shops, options.rounds, options.orders, options.workers))
        results = {shop.name: shop.figures() for shop in shops}
        time.sleep(FLUSHED)
        spans = {shop.name: breakdown(orders_traced(_traces(shop))) for shop in shops}
    if options.json:
        print(json.dumps({"figures": results, "spans": spans}, indent=2))
    else:
        show(results, spans)
    return 1 if any(r["not accepted"] for r in results.values()) else 0


def _traces(shop: Shop) -> str:
    status = asyncio.run(EmbeddedCluster(shop.state_dir).status())
    return str(status["traces"])


if __name__ == "__main__":
    sys.exit(main())
