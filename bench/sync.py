"""Measures the synchronous channel: throughput and CPU per call, beside two other ways, in turns.

    python bench/sync.py [--rounds 7] [--calls 4000] [--threads 1,50]

The three ways make the same unary calls to the same server, a process of its own, over plaintext:

    grpc   `grpc.insecure_channel`
    mesh   the mesh's synchronous channel, with the whole client stack and telemetry
    aio    the mesh's asynchronous channel, driven from the threads by `asyncio.run_coroutine_threadsafe`

Each round runs all of them, in an order that rotates. CPU is that of this process, all threads included.
Ratios are to `grpc` of the same round; shown are the median and the range of the rounds.
"""

import argparse
import asyncio
import contextlib
import multiprocessing
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from grpcmesh.client.channel import MeshChannel
from grpcmesh.client.sync.channel import SyncChannel
from grpcmesh.config import MeshConfig
from grpcmesh.resolver import StaticResolver
from grpcmesh.telemetry import Telemetry
from grpcmesh.testing.ping import PingServer
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub

Call = Callable[[], Any]


def serve(pipe: Any) -> None:
    async def run() -> None:
        async with PingServer(None) as server:
            pipe.send(server.endpoint)
            await asyncio.to_thread(pipe.recv)

    asyncio.run(run())


@contextlib.contextmanager
def by_grpc(endpoint: str) -> Iterator[Call]:
    with grpc.insecure_channel(endpoint) as channel:
        stub: Any = PingServiceStub(channel)
        yield lambda: stub.Ping(PingRequest(text="x"), timeout=60)


@contextlib.contextmanager
def by_mesh(endpoint: str) -> Iterator[Call]:
    config = MeshConfig("bench")
    arguments: dict[str, Any] = {"identity": None, "resolver": StaticResolver([endpoint])}
    with SyncChannel("ping", config, telemetry=Telemetry(config), **arguments) as channel:
        stub: Any = PingServiceStub(channel)
        yield lambda: stub.Ping(PingRequest(text="x"), timeout=60)


@contextlib.contextmanager
def by_aio(endpoint: str) -> Iterator[Call]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    config = MeshConfig("bench")
    arguments: dict[str, Any] = {"identity": None, "resolver": StaticResolver([endpoint])}
    channel = MeshChannel("ping", config, telemetry=Telemetry(config), **arguments)
    stub: Any = PingServiceStub(channel)

    async def call() -> Any:
        return await stub.Ping(PingRequest(text="x"), timeout=60)

    try:
        yield lambda: asyncio.run_coroutine_threadsafe(call(), loop).result()
    finally:
        asyncio.run_coroutine_threadsafe(channel.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


WAYS = {"grpc": by_grpc, "mesh": by_mesh, "aio": by_aio}


def measure(way: str, endpoint: str, threads: int, calls: int) -> tuple[float, float]:
    """Return microseconds of CPU per call, and calls per second."""

    def work(call: Call) -> None:
        for _ in range(calls // threads):
            call()

    with WAYS[way](endpoint) as call, ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda _: call(), range(max(200, 4 * threads))))  # warm
        cpu, wall = time.process_time(), time.perf_counter()
        list(pool.map(work, [call] * threads))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    made = calls // threads * threads
    return cpu / made * 1e6, made / wall


def report(threads: int, rounds: list[dict[str, tuple[float, float]]]) -> None:
    print(f"\n{threads} thread(s), {len(rounds)} rounds")
    print("| way | CPU per call (us) | ratio to grpc | calls/s | ratio to grpc |\n|---|---|---|---|---|")
    for way in WAYS:
        cells = []
        for what, form in ((0, "{:.0f}"), (1, "{:.0f}")):
            values = [r[way][what] for r in rounds]
            ratios = [r[way][what] / r["grpc"][what] for r in rounds]
            cells.append(form.format(statistics.median(values)))
            cells.append(f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"| {way} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--calls", type=int, default=4000)
    parser.add_argument("--threads", default="1,50")
    options = parser.parse_args()
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs,))
    server.start()
    endpoint = ours.recv()
    order = list(WAYS)
    try:
        for threads in map(int, options.threads.split(",")):
            rounds = []
            for _ in range(options.rounds):
                rounds.append({way: measure(way, endpoint, threads, options.calls) for way in order})
                order.append(order.pop(0))
            report(threads, rounds)
    finally:
        ours.send("stop")
        server.join(10)


if __name__ == "__main__":
    main()
