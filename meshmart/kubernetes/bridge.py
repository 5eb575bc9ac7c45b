"""Runs a verb in the toolbox's pod: from outside, neither pods nor their certificates are within reach."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import BinaryIO

import aiohttp

from local.errors import ClusterError
from meshmart import output
from meshmart.kubernetes import objects
from meshmart.kubernetes.api import Api, Object
from meshmart.toolbox import HEARTBEAT, RemoteVerb

TOOLBOX = "client"
COMMAND = ("python", "-m", "meshmart.toolbox", "run")
_SELECTOR = f"{objects.PART_OF},app.kubernetes.io/component=toolbox"
#: Settings of this terminal and person that go along. Nothing else of the environment does.
_CARRIED = (
    "MESHMART_TOKEN",
    "MESHMART_PASSWORD",
    "MESHMART_ADMIN_PASSWORD",
    "MESHMART_TOUR_HANG",
    "NO_COLOR",
)
#: Seconds between two heartbeats to the verb, and without one after which it takes us for gone.
_HEARTBEAT, _SILENCE = 5.0, 30.0
#: Seconds that the verb has to end after Ctrl-C.
_ENDING = 20.0
_STDIN, _STDOUT, _STDERR, _STATUS = range(4)


def run(context: str, namespace: str, arguments: Sequence[str]) -> int:
    """Runs `meshmart ARGUMENTS` there, shows what it prints as it comes, and returns its exit status.

    Args:
        context: Of the kubeconfig.
        namespace: Of the release.
        arguments: The verb and what follows it.

    Raises:
        ClusterError: there is no toolbox, or the connection broke.
    """
    return asyncio.run(_run(context, namespace, arguments))


async def _run(context: str, namespace: str, arguments: Sequence[str]) -> int:
    verb = remote_verb(arguments, os.environ, output.columns())
    async with await Api.of_context(context, namespace) as api:
        pod = toolbox(await api.list("pods", _SELECTOR), namespace)
        async with api.exec(pod, TOOLBOX, COMMAND) as socket, _interrupts(socket):
            await socket.send_bytes(bytes([_STDIN]) + verb.line())
            async with _heartbeats(socket):
                return await _relayed(socket)


def toolbox(pods: Sequence[Object], namespace: str) -> str:
    """The name of a ready pod of the toolbox.

    Raises:
        ClusterError: there is none.
    """
    for pod in pods:
        if objects.ready(pod):
            return objects.name(pod)
    none = "there is no pod of it (toolbox.enabled of the chart)"
    state = ", ".join(f"{objects.name(p)} is {objects.phase(p)}" for p in pods) or none
    raise ClusterError(f"the toolbox (Deployment {TOOLBOX}) of namespace {namespace} is not ready: {state}")


def remote_verb(arguments: Sequence[str], environ: Mapping[str, str], columns: str = "") -> RemoteVerb:
    """What is run in the pod: the verb, and the settings that go along.

    Args:
        arguments: The verb and what follows it.
        environ: Of this process.
        columns: How wide the terminal is that shows the output; empty: none does.
    """
    carried = {k: environ[k] for k in _CARRIED if k in environ}
    if columns:
        carried[output.COLUMNS] = columns
    return RemoteVerb(list(arguments), carried, _SILENCE)


@asynccontextmanager
async def _interrupts(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[None]:
    """The first Ctrl-C asks the verb to end: what it broke, it mends. The second one, or too long a wait,
    closes the connection, which ends it, too."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    pulled = False
    asking: set[asyncio.Task[None]] = set()

    def pull() -> None:
        nonlocal pulled
        if pulled:
            _cancel(task)
            return
        pulled = True
        asking.add(loop.create_task(socket.send_bytes(bytes([_STDIN]) + b"\n")))
        loop.call_later(_ENDING, _cancel, task)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, pull)
    try:
        yield
    except asyncio.CancelledError:
        if not pulled:
            raise
        raise KeyboardInterrupt from None
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


@asynccontextmanager
async def _heartbeats(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[None]:
    """Lets the verb know that somebody is there, until the end of the block."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            await socket.send_bytes(bytes([_STDIN]) + HEARTBEAT)

    task = asyncio.create_task(beat(), name="heartbeats")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _cancel(task: "asyncio.Task[int] | None") -> None:
    if task is not None:
        task.cancel()


async def _relayed(socket: aiohttp.ClientWebSocketResponse) -> int:
    """Writes what comes; returns the exit status."""
    outputs: dict[int, BinaryIO] = {_STDOUT: sys.stdout.buffer, _STDERR: sys.stderr.buffer}
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or len(message.data) < 2:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == _STATUS:
            return exit_status(data)
        if channel in outputs:
            outputs[channel].write(data)
            outputs[channel].flush()
    raise ClusterError("the connection to the toolbox broke before the verb had ended")


def exit_status(data: bytes) -> int:
    """Of the Status object at the end of an exec.

    Raises:
        ClusterError: the command could not be run at all.
    """
    told = json.loads(data)
    if told.get("status") == "Success":
        return 0
    for cause in told.get("details", {}).get("causes", ()):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise ClusterError(f"the toolbox could not run it: {told.get('message', told)}")
