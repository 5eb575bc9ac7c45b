"""PID 1 of a container under Tilt: runs `python ARGUMENTS`, and runs it anew at SIGHUP.

    python reload.py FROM TO ARGUMENTS…

Tilt copies an edit into the running container and sends SIGHUP. The program gets SIGTERM, so it drains as it
would in any rollout, and starts again in the same container, where the edit is. SIGTERM and SIGINT end both.

All containers get each edit, since all are of one image. A service goes on where the edit is of another
service: they do not import each other, which a contract in pyproject.toml holds them to.

The root of the container cannot be written to, under Tilt as anywhere. So the sources are copied to TO, a
place in the pod's /tmp that stands before FROM in PYTHONPATH, and edits land there.
"""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType

#: Files, each with when it was last written and its size.
State = dict[str, tuple[int, int]]


class Reloader:
    """Runs one program at a time.

    Args:
        command: What to run.
        sources: What the program is made of; it starts again where that has changed since it started.
    """

    def __init__(self, command: list[str], sources: Callable[[], State]) -> None:
        self._command = command
        self._sources = sources
        self._started: State = {}
        self._child: subprocess.Popen[bytes] | None = None
        self._again = False
        self._ending = False

    def run(self) -> int:
        """Runs the program until it ends without being asked to start again; returns its exit status."""
        signal.signal(signal.SIGHUP, self._reload)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)
        while True:
            self._again = False
            self._started = self._sources()
            self._child = subprocess.Popen(self._command)
            if self._ending:  # a signal that came while there was no child to tell
                self._stop_child()
            status = self._child.wait()
            if self._ending or not self._again:
                # As a shell tells it: 137 for what SIGKILL ended.
                return status if status >= 0 else 128 - status

    def _reload(self, _number: int, _frame: FrameType | None) -> None:
        if self._sources() != self._started:
            self._again = True
            self._stop_child()

    def _end(self, _number: int, _frame: FrameType | None) -> None:
        self._ending = True
        self._stop_child()

    def _stop_child(self) -> None:
        if self._child is not None:
            self._child.terminate()


def fill(source: str, target: str) -> None:
    """Copies what the target lacks; what is there may be an edit, and outlives the container."""

    def copy(each: str, to: str) -> None:
        if not os.path.exists(to):
            shutil.copyfile(each, to)

    shutil.copytree(source, target, copy_function=copy, dirs_exist_ok=True)


def sources(target: str, arguments: tuple[str, ...]) -> State:
    """The files below the target that a program of these arguments may import."""
    services = {
        f"services.{main.parent.name}.main": main.parent for main in Path(target).glob("services/*/main.py")
    }
    own = services.keys() & set(arguments)
    foreign = {str(path) for name, path in services.items() if own and name not in own}
    found = {}
    for directory, below, files in os.walk(target):
        below[:] = [each for each in below if os.path.join(directory, each) not in foreign]
        for each in files:
            path = os.path.join(directory, each)
            status = os.stat(path)  # of its times, tar sets all but this to those of the edited file
            found[path] = status.st_ctime_ns, status.st_size
    return found


def main(source: str, target: str, *arguments: str) -> int:
    """Fills the target and runs the program."""
    fill(source, target)
    return Reloader([sys.executable, *arguments], lambda: sources(target, arguments)).run()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
