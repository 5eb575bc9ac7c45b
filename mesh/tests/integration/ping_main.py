"""A ping service as a process, for the tests of the runtime; PING_MODE chooses what it does wrong."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc

from grpcmesh.config import ConfigError
from grpcmesh.runtime import App, run
from grpcmesh.testing import ping_pb2
from grpcmesh.testing.ping import PingServicer
from grpcmesh.testing.ping_pb2_grpc import add_PingServiceServicer_to_server

PRIORITIES = {"Poke": "critical", "Ping": "sheddable", "Elsewhere": "critical"}


@contextlib.asynccontextmanager
async def resource(name: str) -> AsyncIterator[None]:
    print("enter", name, flush=True)
    yield
    print("leave", name, flush=True)


async def fail_soon() -> None:
    await asyncio.sleep(0.2)
    raise RuntimeError("the background has failed")


async def break_on_signal(app: App) -> None:
    """End the accept loop of a port by an error at its next call, after SIGUSR1.

    grpc.aio makes a task for each call. From the signal on, that fails in an accept loop.
    """
    loop = asyncio.get_running_loop()
    asked = asyncio.Event()
    loop.add_signal_handler(signal.SIGUSR1, asked.set)
    print("breakable", flush=True)
    await asked.wait()

    def factory(loop: Any, coroutine: Any, **options: Any) -> Any:
        creator = asyncio.current_task()
        if creator is not None and "_server_main_loop" in getattr(creator.get_coro(), "__qualname__", ""):
            coroutine.close()
            raise RuntimeError("no task for a call")
        return asyncio.Task(coroutine, loop=loop, **options)

    loop.set_task_factory(factory)
    print("broken", flush=True)


async def build(app: App) -> None:
    await app.enter(resource("first"))
    await app.enter(resource("second"))
    mode = os.environ.get("PING_MODE", "")
    if mode == "stuck":
        await asyncio.Event().wait()
    if mode == "broken":
        raise RuntimeError("build has failed")
    if mode == "misconfigured":
        raise ConfigError(["PING_MODE: is wrong", "PING_COLOUR: is missing"])
    if mode == "breakable":
        app.spawn(break_on_signal(app), "breaking")
    if mode == "failing":
        app.spawn(fail_soon(), "failing")
    if mode == "keyless":
        app.use_keys(Unreachable())
    if mode == "late keys":
        app.use_keys(Late(Path(os.environ["PING_KEYS"])))
    if mode == "priorities":
        app.prioritize({f"mesh.testing.PingService/{m}": p for m, p in PRIORITIES.items()})
    if mode == "subprocess":
        add_PingServiceServicer_to_server(Spawning(app.config.replica), app.server)
        return
    if mode == "blocking":
        add_PingServiceServicer_to_server(Blocking(app.config.replica), app.server)
        return
    if mode != "edge":
        add_PingServiceServicer_to_server(PingServicer(app.config.replica), app.server)


class Unreachable:
    """A source of keys that cannot be reached."""

    async def fetch(self) -> dict[str, Any]:
        raise ConnectionError("the issuer does not answer")


class Late(Unreachable):
    """A source of keys that answers once a file exists."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def fetch(self) -> dict[str, Any]:
        return {} if self._file.exists() else await super().fetch()


class Spawning(PingServicer):
    """Starts a subprocess for each call."""

    async def Ping(self, request: Any, context: Any) -> Any:
        child = await asyncio.create_subprocess_exec("/bin/true")
        await child.wait()
        return await super().Ping(request, context)


class Blocking(PingServicer):
    """A servicer whose Poke blocks the event loop for the request's delay (s), after its answer."""

    async def Poke(self, request: Any, context: Any) -> Any:
        asyncio.get_running_loop().call_later(0.1, time.sleep, request.delay)
        return ping_pb2.PingResponse()


#: Channels whose threads run before `run()`.
early: list[grpc.Channel] = []

if __name__ == "__main__":
    if os.environ.get("PING_MODE") == "early":
        early.append(grpc.insecure_channel("127.0.0.1:1"))
        print("early", flush=True)
    run("ping", build)
