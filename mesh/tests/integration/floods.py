"""Floods of HTTP/2 against both ports of a real process, and what a good client sees meanwhile.

    cd mesh && ../.venv/bin/python -m tests.integration.floods [FLOOD ...]

Each flood runs for some seconds in a process of its own, against loopback. See mesh/docs/hostile-peers.md.
"""

import asyncio
import contextlib
import functools
import json
import resource
import ssl
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from grpcmesh.ca import Leaf
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration import rawh2
from tests.integration.rawh2 import (
    CONTINUATION,
    END_HEADERS,
    HEADERS,
    PING,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    RawConnection,
    frame,
    literal,
)  # fmt: skip

#: Duration of a flood (s), and the number of an attacker's connections if the flood needs few.
SECONDS, CONNECTIONS = 6.0, 8

ECHO = b"/mesh.testing.PingService/Echo"
WATCH = b"/grpc.health.v1.Health/Watch"

Attack = Callable[[Callable[[], Any], bytes], Awaitable[int]]


async def _over(
    connect: Callable[[], Any], count: int, act: Callable[[RawConnection], Awaitable[int]]
) -> int:
    """Run `act` on connections until the time is over. Reopen each that the server closes."""
    end, done = time.monotonic() + SECONDS, 0

    async def one() -> None:
        nonlocal done
        while time.monotonic() < end:
            with contextlib.suppress(OSError, ssl.SSLError, TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(end - time.monotonic() + 0.1), connect() as connection:
                    reading = asyncio.create_task(_drain(connection))
                    try:
                        while time.monotonic() < end and not reading.done():
                            sent = await act(connection)
                            done += sent
                    finally:
                        reading.cancel()
            await asyncio.sleep(0.01)

    await asyncio.gather(*(one() for _ in range(count)))
    return done


async def _drain(connection: RawConnection) -> None:
    while (got := await connection.receive()) is not None:
        if got.kind == SETTINGS and not got.flags:
            await connection.send(frame(SETTINGS, 1))


def _sending(count: int, *frames: bytes) -> Any:
    async def act(connection: RawConnection) -> int:
        await connection.send(*frames * count)
        await asyncio.sleep(0)
        return count * len(frames)

    async def attack(connect: Callable[[], Any], method: bytes) -> int:
        return await _over(connect, CONNECTIONS, act)

    return attack


async def rapid_reset(connect: Callable[[], Any], method: bytes) -> int:
    """Open streams and reset each at once (CVE-2023-44487)."""
    block = literal(rawh2.headers(method))

    async def act(connection: RawConnection) -> int:
        frames = []
        for stream in [next(connection.streams) for _ in range(50)]:
            frames += [
                frame(HEADERS, END_HEADERS, stream, block),
                frame(RST_STREAM, 0, stream, b"\0\0\0\x08"),
            ]
        await connection.send(*frames)
        await asyncio.sleep(0)
        return 50

    return await _over(connect, CONNECTIONS, act)


async def calls(connect: Callable[[], Any], method: bytes) -> int:
    """Send complete calls of an invented method as fast as possible."""

    async def act(connection: RawConnection) -> int:
        for _ in range(20):
            await connection.request(rawh2.headers(b"/invented.Service/M%d" % next(connection.streams)))
        await asyncio.sleep(0)
        return 20

    return await _over(connect, CONNECTIONS, act)


async def streams(connect: Callable[[], Any], method: bytes) -> int:
    """Open streams and leave them open."""
    path = WATCH if b"Health" in method else ECHO

    async def act(connection: RawConnection) -> int:
        await connection.request(rawh2.headers(path), message=None if path == ECHO else rawh2.EMPTY_MESSAGE)
        await asyncio.sleep(0.001)
        return 1

    return await _over(connect, CONNECTIONS, act)


async def watchers(connect: Callable[[], Any], method: bytes) -> int:
    """Open as many health watches as possible over many connections."""

    async def act(connection: RawConnection) -> int:
        await connection.request(rawh2.headers(WATCH))
        await asyncio.sleep(0.001)
        return 1

    return await _over(connect, 100, act)


async def connections(connect: Callable[[], Any], method: bytes) -> int:
    """Open connections, send the preface, and leave them open."""

    async def act(connection: RawConnection) -> int:
        await connection.send()
        await asyncio.sleep(SECONDS)
        return 1

    return await _over(connect, 1500, act)


FLOODS: dict[str, Attack] = {
    "rapid-reset": rapid_reset,
    "pings": _sending(100, frame(PING, 0, 0, b"8 bytes!")),
    "settings": _sending(100, frame(SETTINGS, 0, 0, b"\0\x04\0\x0f\xff\xff")),
    "priorities": _sending(100, frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")),
    "window-updates": _sending(100, frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x01")),
    "continuations": _sending(1, frame(HEADERS, 0, 1, b""), *[frame(CONTINUATION, 0, 1, b"")] * 1000),
    "invented-paths": calls,
    "streams": streams,
    "watchers": watchers,
    "connections": connections,
}


async def tcp(address: str, seconds: float) -> int:
    """Open TCP connections that send nothing, so that their handshakes stay half-open."""
    held = []
    end = time.monotonic() + seconds
    host, _, port = address.rpartition(":")
    while time.monotonic() < end and len(held) < 3000:
        with contextlib.suppress(OSError, TimeoutError):
            held.append(await asyncio.wait_for(asyncio.open_connection(host, int(port)), 0.5))
    await asyncio.sleep(max(0.0, end - time.monotonic()))
    for _, writer in held:
        writer.transport.abort()
    return len(held)


async def attack(name: str, address: str, leaf: Leaf | None) -> None:
    """Run the attacker, in a process of its own."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    context = rawh2.tls(leaf) if leaf else None
    method = rawh2_method(leaf)
    if name == "tcp":
        print(await tcp(address, SECONDS))
    else:
        print(await FLOODS[name](lambda: rawh2.connect(address, context), method))


def rawh2_method(leaf: Leaf | None) -> bytes:
    return b"/mesh.testing.PingService/Ping" if leaf else b"/grpc.health.v1.Health/Check"


class Client:
    """A good client, its calls, and the latency of each answer."""

    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.failed = 0

    async def ask(self, call: Callable[[], Awaitable[Any]]) -> None:
        started = time.monotonic()
        try:
            await call()
            self.latencies.append(time.monotonic() - started)
        except grpc.aio.AioRpcError as e:
            self.failed += 1
            if "--errors" in sys.argv:
                print(e.code(), e.details())

    def __str__(self) -> str:
        total = len(self.latencies) + self.failed
        if not self.latencies:
            return f"{'0':>4}/{total:<4} {'-':>6} {'-':>6}"
        worst = sorted(self.latencies)[int(len(self.latencies) * 0.99)]
        median = statistics.median(self.latencies)
        return f"{len(self.latencies):>4}/{total:<4} {median * 1000:6.0f} {worst * 1000:6.0f}"


def start_attack(process: Any, name: str, port: str) -> subprocess.Popen[bytes]:
    """Start the attacker's process."""
    # An insider where the flood is of calls that are served, else a workload that may call nothing.
    leaf = process.ca.issue("client" if name == "streams" else "rogue") if port == "mesh" else None
    told = {k: v.decode() for k, v in leaf.files().items()} if leaf else None
    command = [sys.executable, "-m", "tests.integration.floods", "--attack", name, process.address(port)]
    attacker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert attacker.stdin is not None
    attacker.stdin.write(json.dumps(told).encode())
    attacker.stdin.close()
    return attacker


async def measure(process: Any, name: str, port: str) -> None:
    """Run one flood beside three good clients: on an old connection, on new ones, and a health probe."""
    attacker = start_attack(process, name, port)
    old, new, probe = Client(), Client(), Client()

    async def on_old(channel: grpc.aio.Channel) -> None:
        stub = PingServiceStub(channel)
        while attacker.poll() is None:
            await old.ask(lambda: stub.Ping(PingRequest(), timeout=2))
            await asyncio.sleep(0.02)

    async def on_new() -> None:
        while attacker.poll() is None:
            async with process.channel() as channel:
                await new.ask(lambda: PingServiceStub(channel).Ping(PingRequest(), timeout=2))
            await asyncio.sleep(0.05)

    async def probing() -> None:
        while attacker.poll() is None:
            options = (("grpc.use_local_subchannel_pool", 1),)
            async with grpc.aio.insecure_channel(process.address("health"), options) as channel:
                stub: Any = health_pb2_grpc.HealthStub(channel)
                await probe.ask(functools.partial(stub.Check, health_pb2.HealthCheckRequest(), timeout=2))
            await asyncio.sleep(0.05)

    async with process.channel() as channel:
        await asyncio.gather(on_old(channel), on_new(), probing())
    assert attacker.stdout is not None
    sent = attacker.stdout.read().decode().strip()
    alive = "" if process.popen.poll() is None else "  THE SERVER DIED"
    print(f"{name:<15} {port:<7} {sent:>9}  {old}  {new}  {probe}{alive}", flush=True)


async def main(names: list[str]) -> None:
    from tests.integration.test_runtime import Process

    heads = "  ".join(f"{head:<23}" for head in ("old connection", "new connection", "health probe"))
    print(f"{'flood':<15} {'port':<7} {'sent':>9}  {heads}")
    print(f"{'':<34}" + "    ok/all   p50ms  p99ms" * 3)
    for name in names or [*FLOODS, "tcp"]:
        for port in ("mesh", "health"):
            with tempfile.TemporaryDirectory() as directory:
                process = Process(Path(directory))
                try:
                    await process.ready()
                    await measure(process, name, port)
                finally:
                    process.popen.kill()
                    process.popen.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--attack"]:
        told = json.loads(sys.stdin.read())
        files = [told[k].encode() for k in ("tls.crt", "tls.key", "ca.crt")] if told else None
        asyncio.run(attack(sys.argv[2], sys.argv[3], Leaf(*files) if files else None))
    else:
        asyncio.run(main([name for name in sys.argv[1:] if not name.startswith("-")]))
