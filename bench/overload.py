"""Measures a server under more load than it can serve: goodput and latency, with admission and without.

    bench/overload.py [--server burn|semaphore] [--seconds S] [--loads 0.5,1,2,3,5] [--runs 3]

Two servers of known capacity, each a process of its own behind mutual TLS, with the whole stack: `burn`
uses the CPU for a time that each call takes, `semaphore` lets ten calls at a time wait for theirs. The
client sends open-loop load: calls start on schedule, whether or not earlier ones have been answered. One call
in ten is `Poke`, which has priority; the others are `Ping`. A call counts as done if it is answered within
its deadline of one second. Off and on run in turns. The server's CPU per call done is meaningful even if the
machine has little CPU for either.
"""

import argparse
import asyncio
import dataclasses
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once

# isort: split
import grpc
import uvloop

from grpcmesh.authz import PolicyStore
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import (
    AdmissionConfig,
    AuthzConfig,
    IdentityConfig,
    MeshConfig,
    RetryConfig,
    TelemetryConfig,
)
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.telemetry import Telemetry
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import (
    PingServiceServicer,
    PingServiceStub,
    add_PingServiceServicer_to_server,
)

DEADLINE = 1.0
#: Seconds that calls may queue: a tenth of the deadline. On a dedicated machine 0.02 is enough; on a shared
#: one, a process that waits for a CPU finds calls of that age without any queue.
TARGET_AGE = 0.1
#: Seconds of CPU that a `burn` call takes; the places of `semaphore`, and the seconds that a call holds one.
BURN, PLACES, HOLD = 0.004, 10, 0.05
#: Calls per second that `semaphore` can do. `burn` is measured, because the stack costs CPU, too.
SEMAPHORE_CAPACITY = PLACES / HOLD
POLICY = """
[[allow]]
from = ["client"]
methods = ["mesh.testing.PingService/*"]
[users]
"mesh.testing.PingService/*" = "anyone"
"""


class Burn(PingServiceServicer):
    """Uses the CPU."""

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        end = time.thread_time() + BURN
        while time.thread_time() < end:
            pass
        return PingResponse()

    Poke = Ping


class Semaphore(PingServiceServicer):
    """Lets a few calls wait at a time."""

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(PLACES)

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        async with self._places:
            await asyncio.sleep(HOLD)
        return PingResponse()

    Poke = Ping


def config(directory: Path, service: str, admission: bool) -> MeshConfig:
    return MeshConfig(
        service,
        address="127.0.0.1:0",
        identity=IdentityConfig(directory / service),
        authz=AuthzConfig(directory / "policy.toml"),
        retry=RetryConfig(max_attempts=1),
        telemetry=TelemetryConfig(sample_ratio=0.0, access_log="off"),
        admission=AdmissionConfig(
            enabled=admission,
            target_age=TARGET_AGE,
            min_calls=4,
            priorities={"mesh.testing.PingService/Poke": "critical"},
        ),
    )


def identity(settings: MeshConfig) -> IdentityStore:
    store = IdentityStore(settings.identity)
    store.load()
    return store


def serve(directory: Path, kind: str, admission: bool, pipe: Any) -> None:
    """Run the server's process: send its port, then its CPU seconds twice when asked."""

    async def run() -> None:
        settings = config(directory, "ping", admission)
        policy, store = PolicyStore(settings.authz), identity(settings)
        policy.load()
        layers = server_layers(settings, Telemetry(settings), policy, None, store)
        server = MeshServer(settings, identity=store, layers=layers, health=(health := HealthServicer()))
        add_PingServiceServicer_to_server(Burn() if kind == "burn" else Semaphore(), server)
        await server.start()
        health.set_all(True)
        pipe.send(server.port)
        for _ in range(2):
            await asyncio.to_thread(pipe.recv)
            pipe.send(time.process_time())
        await server.stop(0)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@dataclasses.dataclass
class Result:
    """The result of one run."""

    offered: Counter[str] = dataclasses.field(default_factory=Counter)
    done: Counter[str] = dataclasses.field(default_factory=Counter)
    codes: Counter[str] = dataclasses.field(default_factory=Counter)
    latencies: list[float] = dataclasses.field(default_factory=list)
    #: CPU seconds of the server.
    cpu: float = 0.0

    def latency(self, percent: int) -> float:
        """Return a percentile of the critical method's latency, in milliseconds."""
        few = len(self.latencies) < 2
        return 0.0 if few else 1000 * statistics.quantiles(self.latencies, n=100)[percent - 1]

    @property
    def figures(self) -> tuple[float, ...]:
        """Return calls done, share of critical calls done, p50, p99, share refused, and CPU seconds per call
        done.
        """
        offered, done = self.offered.total(), self.done.total()
        return (
            done,
            self.done["Poke"] / max(1, self.offered["Poke"]),
            self.latency(50),
            self.latency(99),
            self.codes["RESOURCE_EXHAUSTED"] / max(1, offered),
            self.cpu / max(1, done),
        )


async def load(stub: PingServiceStub, rate: float, seconds: float) -> Result:
    """Generate open-loop load with a seeded random source."""
    rng, result = random.Random(1), Result()

    async def call(method: str) -> None:
        began = time.monotonic()
        try:
            await getattr(stub, method)(PingRequest(), timeout=DEADLINE)
        except grpc.aio.AioRpcError as e:
            result.codes[e.code().name] += 1
            return
        result.done[method] += 1
        if method == "Poke":
            result.latencies.append(time.monotonic() - began)

    calls: set[asyncio.Task[None]] = set()
    began = at = time.monotonic()
    while at < began + seconds:
        at += rng.expovariate(rate)
        await asyncio.sleep(max(0.0, at - time.monotonic()))
        method = "Poke" if rng.random() < 0.1 else "Ping"
        result.offered[method] += 1
        task = asyncio.create_task(call(method))
        calls.add(task)
        task.add_done_callback(calls.discard)
    await asyncio.gather(*calls)
    return result


def used(pipe: Any) -> float:
    """Return the CPU seconds of the server so far."""
    pipe.send(None)
    seconds: float = pipe.recv()
    return seconds


async def measure(directory: Path, kind: str, admission: bool, rate: float, seconds: float) -> Result:
    """Make one run against a new server."""
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=serve, args=(directory, kind, admission, there)
    )
    process.start()
    port = await asyncio.to_thread(here.recv)
    settings = config(directory, "client", admission)
    resolver = StaticResolver([f"127.0.0.1:{port}"])
    async with MeshChannel("ping", settings, identity=identity(settings), resolver=resolver) as channel:
        await channel.channel_ready()
        before = await asyncio.to_thread(used, here)
        result = await load(PingServiceStub(channel), rate, seconds)
        result.cpu = await asyncio.to_thread(used, here) - before
    await asyncio.to_thread(process.join, 20)
    return result


async def capacity(directory: Path, kind: str) -> float:
    """Return the calls per second that the server does when it always has work."""
    if kind == "semaphore":
        return SEMAPHORE_CAPACITY
    result = await measure(directory, kind, False, 1.0 / BURN * 0.95, 3.0)
    return result.done.total() / 3.0


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        ca = CertificateAuthority()
        for service in ("ping", "client"):
            write_atomically(directory / service, ca.issue(service).files())
        (directory / "policy.toml").write_text(POLICY)
        full = await capacity(directory, arguments.server)
        print(f"{arguments.server}: capacity {full:.0f} calls/s")
        print(f"{arguments.runs} runs of {arguments.seconds:g} s each\n")
        print("| load | admission | goodput | critical calls | p50, p99 of them | refused | CPU a call |")
        print("|---|---|---|---|---|---|---|")
        for times in map(float, arguments.loads.split(",")):
            runs: dict[bool, list[tuple[float, ...]]] = {False: [], True: []}
            for _ in range(arguments.runs):
                for admission, found in runs.items():
                    rate = times * full
                    run = await measure(directory, arguments.server, admission, rate, arguments.seconds)
                    found.append(run.figures)
            for admission, found in runs.items():
                print(row(times, admission, full * arguments.seconds, found), flush=True)


def row(times: float, admission: bool, full: float, runs: list[tuple[float, ...]]) -> str:
    """Return the medians of some runs as a line of a table."""
    done, critical, p50, p99, refused, cpu = map(statistics.median, zip(*runs, strict=True))
    cells = (
        f"{times:g}",
        "on" if admission else "off",
        f"{done / full:.0%}",
        f"{critical:.0%}",
        f"{p50:.0f}, {p99:.0f} ms",
        f"{refused:.0%}",
        f"{1000 * cpu:.1f} ms",
    )
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--server", choices=("burn", "semaphore"), default="burn")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--loads", default="0.5,1,2,3,5")
    parser.add_argument(
        "--runs", type=int, default=3, help="runs of each variant, in turns; the table has medians"
    )
    if (given := parser.parse_args()).seconds > 60:
        sys.exit("overload: --seconds is at most 60")
    uvloop.run(main(given))
