"""Owns the process that makes the console's load."""

import asyncio
import contextlib
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType
from typing import Any, Self

from local.errors import ClusterError, describe
from local.words import plural

#: Called with the load's own summary when the load has ended by itself.
Ended = Callable[[str], Awaitable[None]]
#: Seconds that the process may take until its first calls, and to end.
START, GRACE = 120.0, 10.0
PROGRAM = (sys.executable, "-m", "meshmart.console.switches.generator")


class LoadProcess:
    """Runs at most one load. The load ends with this process, because its standard input then ends.

    Args:
        program: The program, without its options.
    """

    def __init__(self, program: Sequence[str] = PROGRAM) -> None:
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        self._watching: asyncio.Task[None] | None = None
        self._calls = self._errors = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def running(self) -> bool:
        return self._process is not None

    async def start(self, options: Sequence[str], ended: Ended) -> None:
        """Start a load, and wait until it makes calls.

        Args:
            options: The options of the program.
            ended: Called when the load has ended, unless `stop` ended it.

        Raises:
            ClusterError: the load cannot be made.
        """
        await self.stop()
        pipe = asyncio.subprocess.PIPE
        try:
            # The process inherits standard error, so that its errors are in the console's log.
            process = await asyncio.create_subprocess_exec(*self._program, *options, stdin=pipe, stdout=pipe)
        except OSError as e:
            raise ClusterError(f"the load cannot be started: {describe(e)}") from None
        self._process, self._calls, self._errors = process, 0, 0
        try:
            async with asyncio.timeout(START):
                first = await self._line(process)
        except TimeoutError:
            await self.stop()
            raise ClusterError(f"the load made no call within {START:g} s") from None
        except asyncio.CancelledError:
            await self.stop()
            raise
        if "calls" not in first:
            await self.stop()
            raise ClusterError(f"the load cannot be made: {first.get('error', 'its process has ended')}")
        self._watching = asyncio.create_task(self._watch(process, ended), name="load")

    async def stop(self) -> str:
        """End the load, and return what it did. Idempotent."""
        watching, process = self._watching, self._process
        self._watching = self._process = None
        if watching:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
        if process:
            await _end(process)
        return self._words()

    async def _watch(self, process: asyncio.subprocess.Process, ended: Ended) -> None:
        while await self._line(process):
            pass
        await _end(process)
        self._watching = self._process = None
        await ended(self._words())

    async def _line(self, process: asyncio.subprocess.Process) -> dict[str, Any]:
        """Read a line of the process; an empty one if it has ended."""
        assert process.stdout is not None
        told: dict[str, Any] = json.loads(await process.stdout.readline() or b"{}")
        self._calls, self._errors = told.get("calls", self._calls), told.get("errors", self._errors)
        return told

    def _words(self) -> str:
        return f"{plural(self._calls, 'call')}, {plural(self._errors, 'error')}"


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process, first by the end of its input, then by force."""
    if process.stdin is not None:
        process.stdin.close()
    try:
        async with asyncio.timeout(GRACE):
            await _drained(process)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _drained(process: asyncio.subprocess.Process) -> None:
    """Wait for the end of a process. A process that writes to a full pipe would never end."""
    assert process.stdout is not None
    while await process.stdout.read(65536):
        pass
    await process.wait()
