"""Measures what an unhealthy replica costs its callers, with outlier detection and without, in real
processes.

    bench/outliers.py [--calls 1500] [--rounds 1]

Three servers, each a process behind mutual TLS, answer in 5 ms. First, one of them answers UNAVAILABLE at
once, while its health says SERVING: which share of a caller's calls does it get, by policy, and how many
after it was ejected? Calls are not retried. Then the event loop of one is blocked for eight seconds: how many
calls with a deadline of one second are lost, and how long after the block is it out of rotation? A readiness
probe with the chart's values acts on its second failure, 3 s + 2 s after the block at the earliest.
"""

import argparse
import asyncio
import dataclasses
import json
import multiprocessing
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpcmesh  # noqa: F401 - before gRPC, which reads its environment once

# isort: split
import grpc
import overload
import uvloop

from grpcmesh.authz import PolicyStore
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import MeshConfig, TelemetryConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.telemetry import Telemetry
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import (
    PingServiceServicer,
    PingServiceStub,
    add_PingServiceServicer_to_server,
)

POLICIES = ("round_robin", "random", "least_request", "peak_ewma", "weighted_round_robin")
#: Seconds that a call takes; seconds for which a loop is blocked; calls per second of the second part.
WORK, BLOCK, RATE = 0.005, 8.0, 60.0


class Pinger(PingServiceServicer):
    """Answers in 5 ms, or at once with UNAVAILABLE; `Poke` blocks the event loop."""

    def __init__(self, sick: bool) -> None:
        self.sick = sick

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        if self.sick:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "sick")
        await asyncio.sleep(WORK)
        return PingResponse()

    async def Poke(self, request: PingRequest, context: Any) -> PingResponse:
        asyncio.get_running_loop().call_later(0.1, time.sleep, BLOCK)
        return PingResponse()


def settings_of(directory: Path, service: str) -> MeshConfig:
    return dataclasses.replace(
        overload.config(directory, service, admission=False),
        telemetry=TelemetryConfig(sample_ratio=0.0, access_log="off", load_report_interval=0.5),
    )


def serve(directory: Path, sick: bool, pipe: Any) -> None:
    """Run the server's process: send its port, and end when told to."""

    async def run() -> None:
        settings = settings_of(directory, "ping")
        policy, store = PolicyStore(settings.authz), overload.identity(settings)
        policy.load()
        layers = server_layers(settings, Telemetry(settings), policy, None, store)
        server = MeshServer(settings, identity=store, layers=layers, health=(health := HealthServicer()))
        add_PingServiceServicer_to_server(Pinger(sick), server)
        await server.start()
        health.set_all(True)
        pipe.send(server.port)
        await asyncio.to_thread(pipe.recv)
        await server.stop(0)

    uvloop.run(run())


@asynccontextmanager
async def servers(directory: Path, sick: int) -> AsyncIterator[list[str]]:
    """Run three processes, of which the first `sick` fail, and yield their addresses."""
    context = multiprocessing.get_context("spawn")
    running = []
    try:
        for number in range(3):
            here, there = context.Pipe()
            process = context.Process(target=serve, args=(directory, number < sick, there))
            process.start()
            running.append((process, here))
        yield [f"127.0.0.1:{await asyncio.to_thread(pipe.recv)}" for _, pipe in running]
    finally:
        for _, pipe in running:
            pipe.send(None)
        for process, _ in running:
            await asyncio.to_thread(process.join, 20)


@asynccontextmanager
async def caller(
    directory: Path, endpoints: list[str], policy: str, detection: bool
) -> AsyncIterator[MeshChannel]:
    """Yield a channel to these endpoints, all of them ready."""
    child: list[dict[str, Any]] = [{policy: {"blackoutPeriod": "0s"} if "weighted" in policy else {}}]
    balancing = (
        [{"outlier_detection_experimental": DETECTION | {"childPolicy": child}}] if detection else child
    )
    store = ServiceConfigStore(inline=json.dumps({"ping": {"loadBalancingConfig": balancing}}))
    store.load()
    settings = settings_of(directory, "client")
    channel = MeshChannel(
        "ping",
        settings,
        identity=overload.identity(settings),
        resolver=StaticResolver(endpoints),
        service_config=store,
    )
    async with channel:
        while [e["state"] for e in channel.state()["endpoints"]] != ["ready"] * len(endpoints):
            await channel.channel_ready()
            await asyncio.sleep(0.05)
        yield channel


#: The mesh's defaults (mesh/docs/outlier-detection.md).
DETECTION = {
    "interval": "10s",
    "baseEjectionTime": "10s",
    "maxEjectionTime": "300s",
    "maxEjectionPercent": 50,
    "failurePercentageEjection": {"threshold": 50, "minimumHosts": 2, "requestVolume": 20},
    "consecutiveFailures": 5,
    "stallTime": "0.5s",
}


async def outcome(stub: PingServiceStub) -> tuple[str, str]:
    """Make one call, and return its code and the endpoint that answered."""
    call: Any = stub.Ping(PingRequest(), timeout=overload.DEADLINE)
    code = (await call.code()).name
    return code, str(call.endpoint)


async def drawn(
    directory: Path, endpoints: list[str], policy: str, on: bool, calls: int
) -> tuple[float, int]:
    """Measure how many of the calls that eight callers make one after the other go to the first endpoint.

    Returns:
        Its share, and the number of calls that began while it was ejected and went there nevertheless:
            probes.
    """
    async with caller(directory, endpoints, policy, on) as channel:
        stub, where, probes = PingServiceStub(channel), Counter[str](), 0

        async def worker() -> None:
            nonlocal probes
            for _ in range(calls // 8):
                ejected = bool(channel.state()["ejected"])
                _, endpoint = await outcome(stub)
                where[endpoint] += 1
                probes += ejected and endpoint == endpoints[0]

        await asyncio.gather(*(worker() for _ in range(8)))
        return where[endpoints[0]] / where.total(), probes


async def blocked(directory: Path, on: bool) -> tuple[Counter[str], float | None]:
    """Return the codes of calls while a loop is blocked, and the seconds until it is out of rotation, or
    None.
    """
    async with (
        servers(directory, 0) as endpoints,
        caller(directory, endpoints, "round_robin", on) as channel,
        caller(directory, endpoints[:1], "round_robin", False) as direct,
    ):
        stub, calls, out = PingServiceStub(channel), list[asyncio.Task[tuple[str, str]]](), None
        await PingServiceStub(direct).Poke(PingRequest(), timeout=5)
        begin = time.monotonic()
        while (passed := time.monotonic() - begin) < BLOCK + 2:
            calls.append(asyncio.create_task(outcome(stub)))
            if out is None and channel.state()["ejected"]:
                out = passed - 0.1  # the block begins 0.1 s after the answer to Poke
            await asyncio.sleep(1 / RATE)
        return Counter(code for code, _ in await asyncio.gather(*calls)), out


async def main(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as name:
        directory, ca = Path(name), CertificateAuthority()
        for service in ("ping", "client"):
            write_atomically(directory / service, ca.issue(service).files())
        (directory / "policy.toml").write_text(overload.POLICY)
        print(f"share of the replica that fails at once, of {arguments.calls} calls over 3 replicas\n")
        print(f"{'policy':<22} {'off':>7} {'on':>7}  calls while ejected")
        async with servers(directory, 1) as endpoints:
            for policy in POLICIES:
                off, _ = await drawn(directory, endpoints, policy, False, arguments.calls)
                on, probes = await drawn(directory, endpoints, policy, True, arguments.calls)
                print(f"{policy:<22} {off:>7.1%} {on:>7.1%}  {probes}", flush=True)
        print(f"\none of 3 loops blocked for {BLOCK:g} s, round robin, {RATE:g} calls/s, deadline 1 s\n")
        for _ in range(arguments.rounds):
            for on in (False, True):
                codes, out = await blocked(directory, on)
                lost, when = codes.total() - codes["OK"], "never" if out is None else f"after {out:.2f} s"
                print(f"{'on' if on else 'off':>3}: {lost} of {codes.total()} lost {dict(codes)}; out {when}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=1500)
    parser.add_argument("--rounds", type=int, default=1)
    uvloop.run(main(parser.parse_args()))
