"""The life of a serving process: start, serve until it has to stop, drain. Signals and garbage collection."""

import asyncio
import contextlib
import gc
import os
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from typing import Any

from grpcmesh import grpc_environment
from grpcmesh.member import Member
from grpcmesh.server.server import MeshServer

_OLD_TLS = "TLS below 1.3 is refused at calls, not in handshakes: gRPC was imported without the setting"
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


async def live(
    member: Member,
    start: Coroutine[Any, Any, None],
    stop: Callable[[bool], Awaitable[None]],
    stopping: asyncio.Event,
    server: MeshServer,
    *,
    freeze: bool,
) -> BaseException | None:
    """Start, serve until the process has to stop, and stop. Return the error of the first failed task.

    Args:
        member: The process's membership. Serving ends when one of its spawned tasks has failed.
        start: Makes the process ready. If it raises, so does this, after `stop`.
        stop: Stops the process. Its argument says whether to drain.
        stopping: Set to stop.
        server: The mesh server. Its port is logged.
        freeze: Whether to exclude what exists after the start from garbage collection.
    """
    log, ready = member.telemetry.log, False
    try:
        ready = await _until(stopping, member, start)
        if ready:
            log.info("ready", port=server.port)
            if not grpc_environment.tls13_only:
                log.warning(_OLD_TLS, set=f"{grpc_environment.CIPHER_SUITES}={grpc_environment.TLS13_ONLY}")
            with started_for_good() if freeze else contextlib.nullcontext():
                await _until(stopping, member, asyncio.Event().wait())
            log.info("draining")
    finally:
        await stop(ready)
    log.info("stopped")
    return member.tasks.error


@contextlib.contextmanager
def started_for_good() -> Iterator[None]:
    """Exclude the objects that exist now from garbage collection, while the context lasts.

    After the start, these are some 80,000 objects, and a full collection of them delayed all calls for about
    50 ms (measured on a busy machine). Afterwards they are collected as usual, because grpc's server might
    outlive its event loop otherwise.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextlib.contextmanager
def signals_stop(stopping: asyncio.Event) -> Iterator[None]:
    """Set the event at the first SIGTERM or SIGINT. The second one ends the process at once.

    When the context ends, both signals have their default effect again.
    """

    def received(number: int) -> None:
        if stopping.is_set():
            os._exit(128 + number)
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, received, number)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


async def _until(stopping: asyncio.Event, member: Member, work: Coroutine[Any, Any, Any]) -> bool:
    """Run `work` until it is done, or until the process has to stop. Return whether it is done.

    Raises the exception of `work`, if any.
    """
    tasks = [asyncio.create_task(c) for c in (work, stopping.wait(), member.tasks.failed())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            tasks[0].result()
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
