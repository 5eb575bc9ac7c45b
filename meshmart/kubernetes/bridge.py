"""Runs a verb in the toolbox's pod, because neither pods nor their certificates can be reached from
outside.
"""

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
#: Environment variables that are passed on to the verb. No others are.
_CARRIED = (
    "MESHMART_TOKEN",
    "MESHMART_PASSWORD",
    "MESHMART_ADMIN_PASSWORD",
    "MESHMART_TOUR_HANG",
    "NO_COLOR",
)
#: Seconds between two heartbeats to the verb, and seconds without one after which it assumes that we are
#: gone.
_HEARTBEAT, _SILENCE = 5.0, 30.0
#: Seconds that the verb may take to end after Ctrl-C.
_ENDING = 20.0
#: The channels of an exec.
STDIN, STDOUT, STDERR, STATUS = range(4)


def run(context: str, namespace: str, arguments: Sequence[str]) -> int:
    """Run `meshmart ARGUMENTS` there, show its output as it arrives, and return its exit status.

    Args:
        context: The context of the kubeconfig.
        namespace: The namespace of the release.
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
            await socket.send_bytes(bytes([STDIN]) + verb.line())
            async with _heartbeats(socket):
                return await _relayed(socket)


def toolbox(pods: Sequence[Object], namespace: str) -> str:
    """Return the name of a ready pod of the toolbox.

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
    """Return what to run in the pod: the verb, and the variables that are passed on.

    Args:
        arguments: The verb and what follows it.
        environ: The environment of this process.
        columns: The width of the terminal that shows the output; empty if there is none.
    """
    carried = {k: environ[k] for k in _CARRIED if k in environ}
    if columns:
        carried[output.COLUMNS] = columns
    return RemoteVerb(list(arguments), carried, _SILENCE)


@asynccontextmanager
async def _interrupts(socket: aiohttp.ClientWebSocketResponse) -> AsyncIterator[None]:
    """Pass Ctrl-C on until the end of the block.

    The first Ctrl-C asks the verb to end, so that it undoes what it disturbed. The second one, or too long a
    wait, closes the connection, which ends the verb, too.
    """
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
        asking.add(loop.create_task(socket.send_bytes(bytes([STDIN]) + b"\n")))
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
    """Send heartbeats to the verb until the end of the block."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(_HEARTBEAT)
            await socket.send_bytes(bytes([STDIN]) + HEARTBEAT)

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
    """Write the verb's output, and return its exit status."""
    outputs: dict[int, BinaryIO] = {STDOUT: sys.stdout.buffer, STDERR: sys.stderr.buffer}
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or len(message.data) < 2:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == STATUS:
            return exit_status(data)
        if channel in outputs:
            outputs[channel].write(data)
            outputs[channel].flush()
    raise ClusterError("the connection to the toolbox broke before the verb had ended")


def exit_status(data: bytes, where: str = "the toolbox") -> int:
    """Return the exit status in the Status object at the end of an exec.

    Args:
        data: The object, as JSON.
        where: Names the place in the message of an error.

    Raises:
        ClusterError: the command could not be run at all.
    """
    told = json.loads(data)
    if told.get("status") == "Success":
        return 0
    for cause in told.get("details", {}).get("causes", ()):
        if cause.get("reason") == "ExitCode":
            return int(cause["message"])
    raise ClusterError(f"{where} could not run it: {told.get('message', told)}")
