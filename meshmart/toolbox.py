"""What runs in the toolbox's pod.

    python -m meshmart.toolbox      waits, its health green, until the pod is deleted
    python -m meshmart.toolbox run  runs a verb for somebody outside

The verb comes as the first line of standard input (`Errand`), not as arguments: those of an exec stand in the
API server's audit log, and a token may be among them. What follows that line is a leash, as an exec has no
signals, and a command outlives the connection that started it: a byte there is Ctrl-C; so is its end, when
the person outside is gone.
"""

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from local.catalog import OPERATOR

#: Seconds that an interrupted verb has to mend what it broke.
_ENDING = 15.0
_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Errand:
    """A verb to run, as a line of JSON."""

    #: What follows `meshmart`.
    arguments: Sequence[str]
    #: Of the environment of whoever asks.
    environ: Mapping[str, str]

    def line(self) -> bytes:
        return json.dumps({"arguments": self.arguments, "environ": self.environ}).encode() + b"\n"

    @classmethod
    def read(cls, fd: int = 0) -> Self:
        """Takes the line, and nothing of what follows it.

        Raises:
            ValueError: it is none.
        """
        with open(fd, "rb", buffering=0, closefd=False) as stdin:
            told = json.loads(stdin.readline())
        return cls(told["arguments"], told["environ"])


def leash(fd: int = 0) -> None:
    """Interrupts this process when something can be read, or nothing ever will; should that not be enough,
    ends it."""
    with open(fd, "rb", buffering=0, closefd=False) as stdin:
        stdin.read(1)
    os.kill(os.getpid(), signal.SIGINT)
    ended = threading.Timer(_ENDING, os._exit, [_INTERRUPTED])
    ended.daemon = True
    ended.start()


async def wait() -> None:
    """Answers the kubelet's probes until SIGTERM."""
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
    ended, stopped = asyncio.create_task(port.accept_loop_ended()), asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await port.stop()
    if ended in done:
        sys.exit("meshmart.toolbox: the health port has ended")
    await ended


def main() -> None:
    """Waits, or runs a verb."""
    if sys.argv[1:] != ["run"]:
        asyncio.run(wait())
        return
    try:
        errand = Errand.read()
    except ValueError:
        sys.exit("meshmart.toolbox: no verb came on standard input")
    os.environ.update(errand.environ)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    threading.Thread(target=leash, daemon=True).start()
    sys.argv[1:] = errand.arguments

    from meshmart.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
