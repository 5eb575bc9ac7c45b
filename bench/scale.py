"""Measures one replica: its start, its memory at rest, a thousand streams, and a storm of reconnects.

    python bench/scale.py [start rest streams storm] [--streams 1000] [--channels 100] [--starts 5] [--json]

The replica is a process as `run()` makes it: mutual TLS, admission, telemetry, the access log, three ports.
`start`: from the start of the process to its line "ready". `rest`: memory and CPU while nobody calls.
`streams`: that many open streams, at most `PER_CONNECTION` from one client; the memory that one costs, and a
message on each at the same time, there and back. `storm`: that many channels with a connection each, whose
replica is killed and started again; from its line "ready" until the last has an answer. CPU is user plus
system time; time of day counts only on a quiet machine. All settings are the defaults, but for what admission
accepts: of 1000 streams, and of 4 GiB of messages, a share is kept for critical calls.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import uvloop
from processes import cpu_seconds

from grpcmesh.ca import CertificateAuthority, write_atomically
from grpcmesh.client.channel import MeshChannel
from grpcmesh.config import DeadlineConfig, IdentityConfig, MeshConfig
from grpcmesh.identity import IdentityStore
from grpcmesh.resolver import Address, StaticResolver
from grpcmesh.runtime import App, run
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub, add_PingServiceServicer_to_server

POLICY = """
[[allow]]
from = ["client"]
methods = ["mesh.testing.PingService/*"]
[users]
"mesh.testing.PingService/*" = "anyone"
"""
#: Seconds that anything may take.
PATIENCE = 200.0
#: Streams of one connection. A server allows 250 (MESH_SERVER_MAX_CONCURRENT_STREAMS); more would wait.
PER_CONNECTION = 200
#: Streams that are opened at the same time.
AT_ONCE = 50

Figures = dict[str, float]


async def build(app: App) -> None:
    add_PingServiceServicer_to_server(PingServicer(), app.server)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        return int(bound.getsockname()[1])


class Replica:
    """A process of the ping service, which is started again on the same ports."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.port = directory, free_port()
        self.ca = CertificateAuthority()
        for name in ("ping", "client"):
            write_atomically(directory / name, self.ca.issue(name).files())
        (directory / "policy.toml").write_text(POLICY)
        self._environ = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "OTEL_"))},
            "MESH_ADDRESS": f"127.0.0.1:{self.port}",
            "MESH_HEALTH_ADDRESS": f"127.0.0.1:{free_port()}",
            "MESH_ADMIN_ADDRESS": f"127.0.0.1:{free_port()}",
            "MESH_IDENTITY_DIRECTORY": str(directory / "ping"),
            "MESH_AUTHZ_POLICY_FILE": str(directory / "policy.toml"),
        }
        self._process: subprocess.Popen[bytes]

    def start(self) -> float:
        """Start the process. Return the seconds until it is ready."""
        log, before = self.directory / "log", time.monotonic()
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, __file__, "--serve"], env=self._environ, stdout=out, stderr=out
            )
        while b'"msg":"ready"' not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > before + PATIENCE:
                raise SystemExit(f"the replica did not start:\n{log.read_text()}")
            time.sleep(0.005)
        return time.monotonic() - before

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def cpu(self) -> float:
        """Return the CPU seconds that the process has used."""
        return cpu_seconds(self._process.pid)

    def memory(self, kind: str = "Rss") -> float:
        """Return the MiB of the process: `Rss`, or `Pss` with shared pages divided among those that share."""
        rollup = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text()
        return next(int(x.split()[1]) for x in rollup.splitlines() if x.startswith(f"{kind}:")) / 1024

    def channel(self) -> MeshChannel:
        """Return a channel with a connection of its own."""
        config = MeshConfig("client", deadline=DeadlineConfig(default=PATIENCE))
        identity = IdentityStore(IdentityConfig(self.directory / "client"))
        identity.load()
        resolver = StaticResolver([Address("127.0.0.1", self.port)])
        return MeshChannel("ping", config, identity=identity, resolver=resolver)


@contextmanager
def running() -> Iterator[Replica]:
    with tempfile.TemporaryDirectory() as directory:
        replica = Replica(Path(directory))
        replica.start()
        try:
            yield replica
        finally:
            replica.kill()


def start(args: argparse.Namespace) -> Figures:
    """Start the replica several times."""
    seconds, cpu = [], []
    with running() as replica:
        for _ in range(args.starts):
            replica.kill()
            seconds.append(replica.start())
            cpu.append(replica.cpu())
    return {"seconds": statistics.median(seconds), "cpu_seconds": statistics.median(cpu)}


def rest(args: argparse.Namespace) -> Figures:
    """Look at the replica while nobody calls."""
    with running() as replica:
        time.sleep(2)
        before = replica.cpu()
        time.sleep(args.rest)
        return {
            "rss_mib": replica.memory(),
            "pss_mib": replica.memory("Pss"),
            "cpu_ms_per_second": (replica.cpu() - before) / args.rest * 1000,
        }


def streams(args: argparse.Namespace) -> Figures:
    """Open the streams, and send a message on each at the same time."""
    with running() as replica:
        return uvloop.run(_streams(replica, args.streams))


async def _streams(replica: Replica, count: int) -> Figures:
    channels = [replica.channel() for _ in range(-(-count // PER_CONNECTION))]
    try:
        async with asyncio.timeout(PATIENCE):
            stubs = [PingServiceStub(channel) for channel in channels]
            await asyncio.gather(*map(_answered, stubs))
            rss, opening = replica.memory(), Stopwatch(replica)
            some = asyncio.Semaphore(AT_ONCE)
            calls = await asyncio.gather(*(_opened(stubs[n // PER_CONNECTION], some) for n in range(count)))
            opened, held = opening.figures(count), replica.memory() - rss
            sending = Stopwatch(replica)
            await asyncio.gather(*map(_echo, calls))
            return {
                "server_kib_per_stream": held / count * 1024,
                **{f"open_{name}": value for name, value in opened.items()},
                **{f"message_{name}": value for name, value in sending.figures(count).items()},
            }
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


class Stopwatch:
    """Measures a piece of work of this process and the replica."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._server, self._client, self._began = replica.cpu(), time.process_time(), time.monotonic()

    def figures(self, count: int) -> Figures:
        """Return the seconds for all, and the CPU time of each of `count`."""
        server, client = self._replica.cpu() - self._server, time.process_time() - self._client
        return {
            "seconds_all": time.monotonic() - self._began,
            "server_cpu_us": server / count * 1e6,
            "client_cpu_us": client / count * 1e6,
        }


async def _opened(stub: PingServiceStub, some: asyncio.Semaphore) -> Any:
    """Open a stream. A replica that is busy refuses some: they are opened again, as callers would."""
    while True:
        async with some:
            call = stub.Echo(timeout=PATIENCE)
            try:
                await _echo(call)
                return call
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):  # the latter of a write after the end
                if await call.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                    raise
        await asyncio.sleep(0.2)


async def _echo(call: Any) -> None:
    await call.write(PingRequest(text="x" * 100))
    if (await call.read()).text == "":
        raise SystemExit("a stream was not answered")


def storm(args: argparse.Namespace) -> Figures:
    """Kill and start the replica while channels are connected to it."""
    with running() as replica:
        return uvloop.run(_storm(replica, args.channels))


async def _storm(replica: Replica, count: int) -> Figures:
    channels = [replica.channel() for _ in range(count)]
    try:
        async with asyncio.timeout(PATIENCE):
            stubs = [PingServiceStub(channel) for channel in channels]
            await asyncio.gather(*map(_answered, stubs))
            await asyncio.to_thread(replica.kill)
            waiting = [asyncio.create_task(_answered(stub)) for stub in stubs]
            await asyncio.to_thread(replica.start)
            began, cpu = time.monotonic(), replica.cpu()
            answered = sorted(max(0.0, at - began) for at in await asyncio.gather(*waiting))
            return {
                "seconds_to_half": answered[count // 2],
                "seconds_to_last": answered[-1],
                "server_cpu_ms_per_connection": (replica.cpu() - cpu) / count * 1000,
            }
    finally:
        await asyncio.gather(*(channel.close() for channel in channels))


async def _answered(stub: PingServiceStub) -> float:
    """Wait for an answer, as a caller that waits for an endpoint and tries again. Return the time."""
    while True:
        try:
            await stub.Ping(PingRequest(), wait_for_ready=True)
            return time.monotonic()
        except grpc.aio.AioRpcError as e:
            if e.code() not in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE):
                raise
        await asyncio.sleep(0.05)


PARTS = {"start": start, "rest": rest, "streams": streams, "storm": storm}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--channels", type=int, default=100)
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--rest", type=float, default=10, help="seconds at rest")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.serve:
        run("ping", build)
    unknown = set(args.parts) - set(PARTS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    load = os.getloadavg()[0]
    found = {part: PARTS[part](args) for part in args.parts or PARTS}
    if args.json:
        print(json.dumps({"load": load, **found}, indent=2))
        return
    print(f"load of the machine before: {load:.1f}")
    for part, figures in found.items():
        for name, value in figures.items():
            print(f"{part:<8} {name:<32} {value:.3f}")


if __name__ == "__main__":
    main()
