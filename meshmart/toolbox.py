"""What runs in the toolbox's pod.

    python -m meshmart.toolbox      waits, its health green, until the pod is deleted
    python -m meshmart.toolbox run  runs a verb for somebody outside

The verb comes as the first line of standard input (`RemoteVerb`), not as arguments: the API server's audit
log has the arguments of an exec, and a token may be among them. An exec has no signals, and a command may
outlive the connection that started it, so the caller keeps writing: heartbeats, and a line feed for Ctrl-C.
If the input ends, or no heartbeat comes for a while, the caller is gone, which interrupts the verb like
Ctrl-C. A container runtime may also kill the verb when the connection ends: then leases undo what it
disturbed.

The waiting process also restores services that a command has scaled temporarily and whose leases nobody
renews (`meshmart.leases`).
"""

import asyncio
import dataclasses
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from local.catalog import OPERATOR
from local.errors import ClusterError

#: Seconds that an interrupted verb may take to undo what it disturbed.
_ENDING = 15.0
_INTERRUPTED = 130
#: The byte that a caller writes periodically.
HEARTBEAT = b"\0"
#: Seconds between two searches for services to restore.
_MENDING = 10.0


@dataclass(frozen=True, slots=True)
class RemoteVerb:
    """A verb to run, as a line of JSON."""

    #: The arguments of `meshmart`.
    arguments: Sequence[str]
    #: Variables of the caller's environment.
    environ: Mapping[str, str]
    #: Seconds without a heartbeat after which the caller counts as gone; 0 if it sends none.
    silence: float = 0.0

    def line(self) -> bytes:
        return json.dumps(dataclasses.asdict(self)).encode() + b"\n"

    @classmethod
    def read(cls, fd: int = 0) -> Self:
        """Read the line, and nothing of what follows it.

        Raises:
            ValueError: it is not valid.
        """
        with open(fd, "rb", buffering=0, closefd=False) as stdin:
            told = json.loads(stdin.readline())
        return cls(told["arguments"], told["environ"], float(told.get("silence", 0.0)))


def watch_caller(silence: float = 0.0, fd: int = 0) -> None:
    """Wait until the caller wants this process to end, or is gone; then interrupt the process.

    If the interrupt does not end the process within `_ENDING` seconds, it is ended at once.

    Args:
        silence: Seconds without a heartbeat after which the caller counts as gone; 0 if it sends none.
        fd: The file descriptor to which the caller writes.
    """
    while select.select([fd], [], [], silence or None)[0]:
        if os.read(fd, 1) != HEARTBEAT:
            break
    os.kill(os.getpid(), signal.SIGINT)
    ended = threading.Timer(_ENDING, os._exit, [_INTERRUPTED])
    ended.daemon = True
    ended.start()


async def wait() -> None:
    """Answer the kubelet's probes until SIGTERM."""
    from grpcmesh.config import MeshConfig
    from grpcmesh.health.servicer import HealthServicer
    from grpcmesh.server.ports import HealthPort

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health = HealthServicer()
    health.set_all(True)
    port = HealthPort(MeshConfig.from_env(os.environ, service=OPERATOR).health, health)
    await port.start()
    restoring = asyncio.create_task(restore_expired_leases(), name="restoring")
    ended, stopped = asyncio.create_task(port.accept_loop_ended()), asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({ended, stopped, restoring}, return_when=asyncio.FIRST_COMPLETED)
    restoring.cancel()
    await asyncio.gather(restoring, return_exceptions=True)
    if restoring in done:
        restoring.result()  # it never returns, so it has failed
    await port.stop()
    if ended in done:
        sys.exit("meshmart.toolbox: the health port has ended")
    await ended


async def restore_expired_leases() -> None:
    """Restore, periodically, services that a command has scaled temporarily and whose leases nobody
    renews.
    """
    from meshmart.kubernetes.cluster import KubernetesCluster

    told = ""
    while True:
        problem = ""
        try:
            async with KubernetesCluster.of_this_pod() as cluster:
                for service in await cluster.restore_expired():
                    sys.stderr.write(f"meshmart.toolbox: nobody renews the lease of {service}: restored\n")
        except ClusterError as e:
            problem = str(e)
        if problem and problem != told:
            sys.stderr.write(f"meshmart.toolbox: {problem}\n")
        told = problem
        await asyncio.sleep(_MENDING)


def main() -> None:
    """Wait, or run a verb."""
    if sys.argv[1:] != ["run"]:
        asyncio.run(wait())
        return
    try:
        remote_verb = RemoteVerb.read()
    except ValueError:
        sys.exit("meshmart.toolbox: no verb came on standard input")
    os.environ.update(remote_verb.environ)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    # A process that a shell started in the background ignores SIGINT, and its children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=watch_caller, args=[remote_verb.silence], daemon=True).start()
    sys.argv[1:] = remote_verb.arguments

    from meshmart.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
