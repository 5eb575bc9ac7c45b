"""One operating system process of the cluster."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Process:
    """A running program whose output goes to a log file. `start` creates it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: Sequence[str], environment: Mapping[str, str], log: Path) -> "Process":
        """Start a program that ends with this process at the latest.

        Args:
            program: `["-m", "services.product.main"]`, or a path and its arguments.
            environment: The whole environment of the process.
            log: Standard output and error are appended to it.

        Raises:
            OSError: it cannot be started.
        """
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "local.child", str(os.getpid()), *program),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                # Ctrl-C is for the supervisor, which then drains them in order.
                start_new_session=True,
            )
        finally:
            os.close(output)
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """Return the exit code: None while it runs, negative for the signal that ended it."""
        return self._process.returncode

    def kill(self) -> None:
        """Send SIGKILL, which also ends a stopped process."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """Send SIGSTOP: the process keeps its sockets open but does not answer any more."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for the end, and return the exit code."""
        return await self._process.wait()

    async def stop(self, grace: float) -> int:
        """Send SIGTERM, and SIGKILL if it still runs after `grace` seconds.

        A paused process is resumed first.
        """
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()


def describe_exit(code: int) -> str:
    """Describe an exit code, such as `killed by SIGKILL` or `ended with status 2`."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
