"""One operating system process of the cluster."""

import asyncio
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path


class Process:
    """A running program whose output goes to a log file; made by `start`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, program: Sequence[str], environment: Mapping[str, str], log: Path) -> "Process":
        """Starts a program that ends with this process at the latest.

        Args:
            program: `["-m", "services.product.main"]`, or a path and its arguments.
            environment: All of it.
            log: Standard output and error are appended to it.

        Raises:
            OSError: when it cannot be started.
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
                # Ctrl-C is for the supervisor, which then drains them in good order.
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
        """None while it runs; negative: the signal that ended it."""
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL, which also ends a stopped process."""
        self._signal(signal.SIGKILL)

    def pause(self) -> None:
        """SIGSTOP: it keeps its sockets open and says nothing any more."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def wait(self) -> int:
        """Its exit code, once it ended."""
        return await self._process.wait()

    async def stop(self, grace: float) -> int:
        """SIGTERM, and SIGKILL for one that still runs after `grace` seconds. One that was paused goes on."""
        self.resume()
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()


def describe_exit(code: int) -> str:
    """`killed by SIGKILL`, `ended with status 2`."""
    if code >= 0:
        return f"ended with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
