"""What runs in the toolbox's pod.

    python -m meshmart.toolbox                       waits, its health green, until the pod is deleted
    python -m meshmart.toolbox [NAME=VALUE]… VERB …  runs `meshmart VERB …` for somebody outside

An exec has no signals, and a command outlives the connection that started it. So the verb is on a leash:
its standard input. A byte there is Ctrl-C; so is its end, when the person outside is gone.
"""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Sequence

from local.catalog import OPERATOR

#: Seconds that an interrupted verb has to mend what it broke.
_ENDING = 15.0
_INTERRUPTED = 130


def settings(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """The NAME=VALUE in front, and the rest."""
    found: dict[str, str] = {}
    for position, word in enumerate(words):
        name, separator, value = word.partition("=")
        if not separator or not name.isidentifier():
            return found, list(words[position:])
        found[name] = value
    return found, []


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
    from mesh.config import MeshConfig
    from mesh.health.servicer import HealthServicer
    from mesh.ports import HealthPort

    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    health = HealthServicer()
    health.set_all(True)
    port = HealthPort(MeshConfig.from_env(os.environ, service=OPERATOR).health.address, health)
    await port.start()
    await stop.wait()
    await port.stop()


def main() -> None:
    """Waits, or runs a verb."""
    found, arguments = settings(sys.argv[1:])
    if not arguments:
        asyncio.run(wait())
        return
    os.environ.update(found)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    threading.Thread(target=leash, daemon=True).start()
    sys.argv[1:] = arguments

    from meshmart.__main__ import main as run

    run()


if __name__ == "__main__":
    main()
