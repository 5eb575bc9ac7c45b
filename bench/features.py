"""Measures what each feature costs per call: CPU of client and server with it and without, in turns.

    bench/features.py [--rounds 60] [--calls 96] [--features "outlier detection,admission"]

For each feature two pairs of client and server run, behind mutual TLS and with the whole stack, that differ
in this feature only. Short rounds alternate between them, each beginning in turn, so that a machine with
other work disturbs both alike. The ratio is the median over the rounds, with its 95 % confidence interval by
ranks; beside it stands the median difference in microseconds of CPU.
"""

import argparse
import asyncio
import dataclasses
import json
import math
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from unittest import mock

import overload
import uvloop

from grpcmesh.admission import CallerThrottle
from grpcmesh.authz import PolicyStore
from grpcmesh.breaker import Breaker
from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client import stack
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import AdmissionConfig, MeshConfig
from grpcmesh.health.servicer import HealthServicer
from grpcmesh.resolver import StaticResolver
from grpcmesh.server.server import MeshServer, server_layers
from grpcmesh.service_config import ServiceConfigStore
from grpcmesh.service_config.defaults import OUTLIER_DETECTION
from grpcmesh.telemetry import Telemetry
from grpcmesh.testing.ping_pb2 import PingRequest, PingResponse
from grpcmesh.testing.ping_pb2_grpc import (
    PingServiceServicer,
    PingServiceStub,
    add_PingServiceServicer_to_server,
)

PING = {"service": "mesh.testing.PingService", "method": "Ping"}
RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.1s",
    "maxBackoff": "1s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
#: Long, so that nothing is hedged.
HEDGES = {"maxAttempts": 2, "hedgingDelay": "4s"}
CONCURRENCY = 8


def method(**settings: Any) -> dict[str, Any]:
    return {"methodConfig": [{"name": [PING], **settings}]}


def policy(name: str, **parameters: Any) -> dict[str, Any]:
    return {"loadBalancingConfig": [{name: parameters}]}


@dataclasses.dataclass(frozen=True)
class Side:
    """A client and its server, with a feature or without it."""

    #: The service config of the client.
    service_config: Mapping[str, Any] = dataclasses.field(default_factory=lambda: policy("round_robin"))
    #: The attempt layer that is left out.
    without: type[Any] | None = None
    admission: AdmissionConfig = dataclasses.field(default_factory=lambda: AdmissionConfig(enabled=False))
    #: Seconds between two load reports of the server; 0 means none.
    reports: float = 0.0
    metadata: tuple[tuple[str, str], ...] = ()


DETECTION = {
    "consecutiveFailures": OUTLIER_DETECTION.consecutive_failures,
    "failurePercentageEjection": {"threshold": 50, "minimumHosts": 2, "requestVolume": 20},
    "stallTime": "0.5s",
    "childPolicy": [{"round_robin": {}}],
}
USER = (("x-user", "42"),)
OFF = Side()
#: The sides without and with each feature, by name.
FEATURES: Mapping[str, tuple[Side, Side]] = {
    "outlier detection": (OFF, Side(policy("outlier_detection_experimental", **DETECTION))),
    "circuit breaker": (Side(without=Breaker), OFF),
    "callers' throttle": (Side(without=CallerThrottle), OFF),
    "hedging, idle": (OFF, Side(method(hedgingPolicy=HEDGES) | policy("round_robin"))),
    "retry policy": (OFF, Side(method(retryPolicy=RETRIES) | policy("round_robin"))),
    "timeout of the service config": (OFF, Side(method(timeout="5s") | policy("round_robin"))),
    "ring_hash": (
        Side(metadata=USER),
        Side(policy("ring_hash_experimental", requestHashHeader="x-user"), metadata=USER),
    ),
    "weighted_round_robin": (OFF, Side(policy("weighted_round_robin"), reports=1.0)),
    "admission": (OFF, Side(admission=AdmissionConfig())),
    "priorities": (
        Side(admission=AdmissionConfig()),
        Side(admission=AdmissionConfig(priorities={"mesh.testing.PingService/Ping": "critical"})),
    ),
}


class Echo(PingServiceServicer):
    """Answers at once."""

    async def Ping(self, request: PingRequest, context: Any) -> PingResponse:
        return PingResponse()


def settings_of(directory: Path, service: str, side: Side) -> MeshConfig:
    base = overload.config(directory, service, admission=False)
    telemetry = dataclasses.replace(base.telemetry, load_report_interval=side.reports)
    return dataclasses.replace(base, admission=side.admission, telemetry=telemetry)


def serve(directory: Path, feature: str, on: bool, pipe: Any) -> None:
    """Run the server's process: send its port, then its CPU seconds whenever asked, until told to end."""

    async def run() -> None:
        settings = settings_of(directory, "ping", FEATURES[feature][on])
        policies, store = PolicyStore(settings.authz), overload.identity(settings)
        policies.load()
        layers = server_layers(settings, Telemetry(settings), policies, None, store)
        server = MeshServer(settings, identity=store, layers=layers, health=(health := HealthServicer()))
        add_PingServiceServicer_to_server(Echo(), server)
        await server.start()
        health.set_all(True)
        pipe.send(server.port)
        while await asyncio.to_thread(pipe.recv):
            pipe.send(time.process_time())
        await server.stop(0)

    uvloop.run(run())


class Pair:
    """A client in this process and a server in another, and the cost of each round."""

    def __init__(self, pipe: Any, stub: PingServiceStub, metadata: tuple[tuple[str, str], ...]) -> None:
        self._pipe, self._stub, self._metadata = pipe, stub, metadata
        self.cpu: list[float] = []

    def _used(self) -> float:
        self._pipe.send(True)
        theirs: float = self._pipe.recv()
        return theirs + time.process_time()

    async def round(self, calls: int) -> None:
        """Make `calls` calls, and record the CPU seconds per call."""

        async def worker() -> None:
            for _ in range(calls // CONCURRENCY):
                await self._stub.Ping(PingRequest(), timeout=10, metadata=self._metadata)

        before = self._used()
        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
        self.cpu.append((self._used() - before) / calls)


async def start(directory: Path, feature: str, on: bool, running: AsyncExitStack) -> Pair:
    """Start a server and connect a client to it."""
    context, side = multiprocessing.get_context("spawn"), FEATURES[feature][on]
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(directory, feature, on, there))
    process.start()
    running.callback(process.join, 20)
    running.callback(here.send, False)
    port = await asyncio.to_thread(here.recv)
    settings = settings_of(directory, "client", side)
    config = ServiceConfigStore(inline=json.dumps({"ping": side.service_config}))
    config.load()
    with mock.patch.object(stack, "attempt_layers", leaving_out(side.without)):
        channel = MeshChannel(
            "ping",
            settings,
            identity=overload.identity(settings),
            resolver=StaticResolver([f"127.0.0.1:{port}"]),
            service_config=config,
        )
    running.push_async_callback(channel.close)
    await channel.channel_ready()
    return Pair(here, PingServiceStub(channel), side.metadata)


def leaving_out(layer: type[Any] | None) -> Callable[..., list[Any]]:
    """Return a function that makes the attempt stack without a layer."""
    whole = stack.attempt_layers
    return lambda *args: [one for one in whole(*args) if layer is None or not isinstance(one, layer)]


def row(feature: str, off: list[float], on: list[float]) -> str:
    """Return a line of the table."""
    ratios = sorted(b / a for a, b in zip(off, on, strict=True))
    difference = statistics.median(b - a for a, b in zip(off, on, strict=True))
    middle, away = len(ratios) / 2, 0.98 * math.sqrt(len(ratios))
    low, high = (
        ratios[max(0, math.floor(middle - away))],
        ratios[min(len(ratios), math.ceil(middle + away)) - 1],
    )
    return (
        f"| {feature} | {statistics.median(ratios):.3f} | {low:.3f} to {high:.3f} | {1e6 * difference:+.0f} |"
        f" {1e6 * statistics.median(off):.0f} |"
    )


async def main(arguments: argparse.Namespace) -> None:
    chosen = arguments.features.split(",") if arguments.features else list(FEATURES)
    with tempfile.TemporaryDirectory() as name:
        directory, ca = Path(name), CertificateAuthority()
        for service in ("ping", "client"):
            write_atomically(directory / service, ca.issue(service).files())
        (directory / "policy.toml").write_text(overload.POLICY)
        print("| feature | ratio | 95 % | µs a call | without it, µs |\n|---|---|---|---|---|")
        for feature in chosen:
            async with AsyncExitStack() as running:
                pairs = [await start(directory, feature, on, running) for on in (False, True)]
                for number in range(arguments.rounds + 1):
                    for pair in pairs if number % 2 else pairs[::-1]:
                        await pair.round(arguments.calls)
                off, on = (pair.cpu[1:] for pair in pairs)  # the first rounds open connections
                print(row(feature, off, on), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=96, help="calls in a round")
    parser.add_argument("--features", default="", help=f"some of: {', '.join(FEATURES)}")
    uvloop.run(main(parser.parse_args()))
