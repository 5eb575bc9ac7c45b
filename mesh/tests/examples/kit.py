"""Runs the programs of mesh/examples as their READMEs say, in plaintext, beside a greeter."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.integration import test_hello_example as hello
from tests.integration.serverkit import until
from tests.ports import free_port

EXAMPLES = hello.HELLO.parent
#: Where gunicorn, uvicorn and celery are.
BIN = Path(sys.executable).parent
#: Modules of the tests that stand for mistakes of an application.
MISTAKES = Path(__file__).parent / "mistakes"
#: Seconds that an HTTP request or a command may take, on a machine that is busy.
LIMIT = 120


def environment(greeter: int, **more: str) -> dict[str, str]:
    """Return the environment of a program that calls the greeter at this port."""
    return hello.environment(greeter, MESH_PLAINTEXT="true", PYTHONPATH=str(hello.HELLO)) | {
        "MESH_DEADLINE_DEFAULT": str(LIMIT),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@dataclass
class Program:
    """A program that runs, in a process group of its own, and its output."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    async def says(self, condition: Callable[[str], object]) -> None:
        """Wait until the condition holds for the output. Fail if the program ends before."""
        await until(lambda: condition(self.output()) or self.process.poll() is not None)
        assert condition(self.output()), self.output()[-5000:]

    async def ends(self) -> int:
        """Wait for the end of the program, and return its exit status."""
        await until(lambda: self.process.poll() is not None)
        return self.process.wait()


@contextlib.contextmanager
def program(
    command: Sequence[str | Path], folder: Path, log: Path, environ: Mapping[str, str]
) -> Iterator[Program]:
    """Run a program. At the end, kill it and what it has forked."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=folder, env=environ, stdin=subprocess.PIPE, stdout=output, stderr=output,
            start_new_session=True,
        )  # fmt: skip
    try:
        yield Program(process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@contextlib.asynccontextmanager
async def greeter(directory: Path) -> AsyncIterator[int]:
    """Run the greeter of examples/hello. Yield its port."""
    port, log = free_port(), directory / "greeter.log"
    with hello.server(log, port, MESH_PLAINTEXT="true") as process:
        await hello.ready(process, log)
        yield port


async def get(url: str) -> httpx.Response:
    """Return the answer of an HTTP server that listens."""
    async with httpx.AsyncClient(timeout=LIMIT, trust_env=False) as client:
        return await client.get(url)
