"""Runs a verb of `meshmart` as a process of its own, which ends with this process."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from meshmart.console.experiments.output import Lines, Output
from meshmart.toolbox import RemoteVerb

#: Runs the verb that it reads from standard input. When that is closed, by `interrupt` or because this
#: process has ended, it interrupts the verb, which then undoes what it disturbed.
PROGRAM = (sys.executable, "-m", "meshmart.toolbox", "run")
#: Seconds that an interrupted verb may take to end, a little more than it has in a toolbox.
GRACE = 20.0
_CHUNK = 65536


class Program:
    """A verb that runs. `start` creates it. The caller must `wait`, and must `kill` if it stops waiting."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._killed = False
        self.output = Output()

    @classmethod
    async def start(
        cls, verb: Sequence[str], environ: Mapping[str, str], program: Sequence[str] = PROGRAM
    ) -> Self:
        """Start a verb.

        Args:
            verb: The arguments of `meshmart`.
            environ: The whole environment of its process.
            program: The command line that runs it.

        Raises:
            OSError: the program cannot be started.
        """
        process = await asyncio.create_subprocess_exec(
            *program,
            env=environ,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            # Ctrl-C is for the console, which then interrupts the verb.
            start_new_session=True,
        )
        assert process.stdin is not None
        process.stdin.write(RemoteVerb(verb, {}).line())
        return cls(process)

    async def wait(self, say: Callable[[str], None]) -> int:
        """Wait for the end of the verb and of its output. Return the exit code, negative for a signal.

        Args:
            say: Called with each line of standard error.
        """
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        lines = Lines()

        def progress(data: bytes) -> None:
            for line in lines.feed(data):
                say(line)

        _, _, code = await asyncio.gather(
            _drain(self._process.stderr, progress),
            _drain(self._process.stdout, self.output.feed),
            self._process.wait(),
        )
        return code

    def interrupt(self) -> None:
        """Make the verb undo what it disturbed, and end."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    def kill(self) -> None:
        """Send SIGKILL to the verb and to everything that it has started. Only the first call has an effect,
        because later the process id may be another process's.
        """
        if not self._killed:
            self._killed = True
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


async def _drain(stream: asyncio.StreamReader, take: Callable[[bytes], Any]) -> None:
    """Read a stream to its end. `take` is also called with the empty data of the end."""
    while True:
        data = await stream.read(_CHUNK)
        take(data)
        if not data:
            return
