"""The processes of bench/grpcio_versions.py: a bare grpc.aio server, and clients that call it or abandon
streams.

It runs under the grpcio that is compared, so it imports no other package but uvloop.
"""

import asyncio
import contextlib
import gc
import json
import os
import resource
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

PAYLOAD = b"x" * 100
IN_FLIGHT = 8
WARM_UP_CALLS = 500
#: Server streams of the cost run, and the messages in each.
STREAMS, MESSAGES = 16, 250
#: Streams that one leak case opens, and seconds until the handlers are counted.
ABANDONED, LEAK_WAIT = 50, 4.0
#: No measuring process may run longer than this, in seconds.
PROCESS_LIMIT = 120.0

SERVICE = "meshmart.bench.Echo"
#: What a handler does while its client is gone: waits, sends now and then, or is blocked by flow control.
SHAPES = ("wait", "tick", "flood")
#: How a client abandons a stream.
WAYS = ("cancel", "task", "deadline", "drop", "break", "close", "close-drop", "kill", "freeze")


def usage() -> dict[str, float]:
    """Return the CPU seconds and context switches of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "cpu": used.ru_utime + used.ru_stime,
        "switches": float(used.ru_nvcsw + used.ru_nivcsw),
        "threads": float(len(os.listdir("/proc/self/task"))),
        "rss": used.ru_maxrss / 1024,
    }


# The server process.


class Echo:
    """The handlers of the server, and how many streams of each shape they are serving."""

    def __init__(self) -> None:
        self.running: dict[str, int] = dict.fromkeys(SHAPES, 0)

    async def unary(self, request: bytes, _context: Any) -> bytes:
        """Return the request."""
        return request

    async def stream(self, _request: bytes, _context: Any) -> AsyncIterator[bytes]:
        """Yield MESSAGES messages."""
        for _ in range(MESSAGES):
            yield PAYLOAD

    async def usage(self, _request: bytes, _context: Any) -> bytes:
        """Return usage() of the server as JSON."""
        return json.dumps(usage()).encode()

    async def count(self, _request: bytes, _context: Any) -> bytes:
        """Return the number of running handlers by shape as JSON."""
        return json.dumps(self.running).encode()

    async def open(self, request: bytes, _context: Any) -> AsyncIterator[bytes]:
        """Serve a stream of the shape that the request names, for at most a minute."""
        shape = request.decode()
        self.running[shape] += 1
        ends = time.monotonic() + 60
        try:
            yield b"first"
            while time.monotonic() < ends:
                if shape == "wait":
                    await asyncio.sleep(60)
                elif shape == "tick":
                    await asyncio.sleep(0.2)
                    yield PAYLOAD
                else:
                    yield b"x" * 65536
        finally:
            self.running[shape] -= 1


async def serve(tls: Path | None, keepalive: bool) -> None:
    """Serve on a free loopback port, print the port, and stop when standard input closes."""
    import grpc
    import grpc.aio

    echo = Echo()
    handlers: dict[str, Any] = {
        "Unary": grpc.unary_unary_rpc_method_handler(echo.unary),
        "Stream": grpc.unary_stream_rpc_method_handler(echo.stream),
        "Usage": grpc.unary_unary_rpc_method_handler(echo.usage),
        "Count": grpc.unary_unary_rpc_method_handler(echo.count),
        "Open": grpc.unary_stream_rpc_method_handler(echo.open),
    }
    options = [("grpc.so_reuseport", 0), ("grpc.max_concurrent_streams", 1000)]
    if keepalive:
        options += [("grpc.keepalive_time_ms", 1000), ("grpc.http2.ping_timeout_ms", 1000)]
    server = grpc.aio.server(options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    if tls is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        identity = ((tls / "server.key").read_bytes(), (tls / "server.pem").read_bytes())
        roots = (tls / "ca.pem").read_bytes()
        credentials = grpc.ssl_server_credentials([identity], roots, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(port, flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


# The client process.


def connect(port: int, tls: Path | None) -> Any:
    """Return a channel with a connection of its own."""
    import grpc
    import grpc.aio

    options = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]
    target = f"127.0.0.1:{port}"
    if tls is None:
        return grpc.aio.insecure_channel(target, options=options)
    credentials = grpc.ssl_channel_credentials(
        (tls / "ca.pem").read_bytes(), (tls / "client.key").read_bytes(), (tls / "client.pem").read_bytes()
    )
    return grpc.aio.secure_channel(target, credentials, options=options)


async def repeat(times: int, work: Callable[[], Awaitable[object]]) -> list[float]:
    """Do the work so many times with IN_FLIGHT at a time, and return the seconds that each took."""
    took: list[float] = []

    async def worker(count: int) -> None:
        for _ in range(count):
            began = time.perf_counter()
            await work()
            took.append(time.perf_counter() - began)

    await asyncio.gather(*(worker(times // IN_FLIGHT) for _ in range(IN_FLIGHT)))
    return took


async def measure(port: int, tls: Path | None, calls: int) -> dict[str, float]:
    """Measure unary calls, then server streams; figures are microseconds of CPU per call or message."""
    figures: dict[str, float] = {}
    async with connect(port, tls) as channel:
        unary = channel.unary_unary(f"/{SERVICE}/Unary")
        stream = channel.unary_stream(f"/{SERVICE}/Stream")
        ask = channel.unary_unary(f"/{SERVICE}/Usage")

        async def call() -> None:
            await unary(PAYLOAD)

        async def read() -> None:
            async for _ in stream(PAYLOAD):
                pass

        await repeat(WARM_UP_CALLS, call)
        kinds = (("unary", call, calls, calls), ("stream", read, STREAMS, STREAMS * MESSAGES))
        for name, work, times, units in kinds:
            server, client = json.loads(await ask(b"")), usage()
            took = sorted(await repeat(times, work))
            server_after, client_after = json.loads(await ask(b"")), usage()
            for role, before, after in (("client", client, client_after), ("server", server, server_after)):
                figures[f"{name}.{role}"] = (after["cpu"] - before["cpu"]) / units * 1e6
                figures[f"{name}.{role}.switches"] = (after["switches"] - before["switches"]) / units
                figures[f"{name}.{role}.threads"] = after["threads"]
                figures[f"{name}.{role}.rss"] = after["rss"]
            figures[f"{name}.both"] = figures[f"{name}.client"] + figures[f"{name}.server"]
            figures[f"{name}.p50"] = took[len(took) // 2] * 1e6
            figures[f"{name}.p99"] = took[int(len(took) * 0.99)] * 1e6
    return figures


async def abandon(port: int, tls: Path | None, shape: str, way: str) -> None:
    """Open ABANDONED streams of one shape, read a message of each, and abandon them."""
    import grpc

    channel = connect(port, tls)
    opened = channel.unary_stream(f"/{SERVICE}/Open")
    calls = [opened(shape.encode(), timeout=1.5 if way == "deadline" else None) for _ in range(ABANDONED)]
    for call in calls:
        if way == "break":
            async for _ in call:
                break
        else:
            await call.read()
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "freeze":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif way == "cancel":
        for call in calls:
            call.cancel()
    elif way == "task":
        # A handler of the shape `wait` sends no second message, so each read waits until its task ends.
        reads = [asyncio.create_task(drain(call)) for call in calls]
        await asyncio.sleep(0.1)
        for read in reads:
            read.cancel()
        await asyncio.gather(*reads, return_exceptions=True)
        reads.clear()
    elif way == "deadline":
        for call in calls:
            with contextlib.suppress(grpc.RpcError):
                await call.code()
    elif way.startswith("close"):
        await channel.close()
    if way in ("drop", "break", "close-drop"):
        del call
        calls.clear()
        gc.collect()
    # The process stays, so that only the abandonment itself can end the handlers.
    print("abandoned", flush=True)
    await asyncio.sleep(LEAK_WAIT + 10)


async def drain(call: Any) -> None:
    """Read a stream to its end."""
    import grpc.aio

    while await call.read() is not grpc.aio.EOF:
        pass


async def count(port: int, tls: Path | None) -> dict[str, int]:
    """Return how many handlers run on the server, by shape."""
    async with connect(port, tls) as channel:
        counted: dict[str, int] = json.loads(await channel.unary_unary(f"/{SERVICE}/Count")(b"", timeout=5))
        return counted


def child(arguments: list[str]) -> None:
    """Run a measuring process: `serve`, `measure`, `abandon` or `count`."""
    import uvloop

    uvloop.install()
    command, rest = arguments[0], arguments[1:]
    if command == "serve":
        asyncio.run(serve(Path(rest[0]) if rest[0] else None, rest[1:] == ["keepalive"]))
        return
    port, tls = int(rest[0]), Path(rest[1]) if rest[1] else None
    if command == "measure":
        print(json.dumps(asyncio.run(measure(port, tls, int(rest[2])))))
    elif command == "abandon":
        asyncio.run(abandon(port, tls, rest[2], rest[3]))
    elif command == "count":
        print(json.dumps(asyncio.run(count(port, tls))))


if __name__ == "__main__":
    child(sys.argv[1:])
