"""Celery's pool of forked processes, with a broker of files."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.examples.kit import BIN, EXAMPLES, LIMIT, MISTAKES, Program, environment, greeter, program
from tests.integration import test_hello_example as hello

FOLDER = EXAMPLES / "celery"
#: Sends tasks, and prints a line for each result: the message and the process, or the error.
SEND = f"""
import tasks
for result in [tasks.hello.delay("mesh") for _ in range(8)]:
    try:
        print(*result.get(timeout={LIMIT}).values())
    except Exception as e:
        print(type(e).__name__, e)
"""


@asynccontextmanager
async def worker(directory: Path, app: str) -> AsyncIterator[tuple[Program, dict[str, str]]]:
    """Run a worker with two processes. Yield it, and the environment of a program that sends tasks."""
    command = [BIN / "celery", "--app", app, "worker", "--concurrency", "2", "--loglevel", "INFO"]
    path = f"{hello.HELLO}:{FOLDER}:{MISTAKES}"
    async with greeter(directory) as upstream:
        environ = environment(upstream, PYTHONPATH=path, QUEUE_DIRECTORY=str(directory / "queue"))
        # Not in the example's folder, where celery would look for what the tests add.
        with program(command, directory, directory / "worker.log", environ) as running:
            await running.says(lambda output: " ready." in output)
            yield running, environ


async def send(directory: Path, environ: dict[str, str]) -> list[str]:
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", SEND],
        cwd=directory,
        env=environ,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def test_each_forked_process_of_the_pool_starts_a_mesh_of_its_own(tmp_path: Path) -> None:
    processes: set[str] = set()
    async with worker(tmp_path, "tasks") as (running, environ):
        async with asyncio.timeout(600):
            while len(processes) < 2:  # whichever process is free takes the next task
                lines = await send(tmp_path, environ)
                assert len(lines) == 8
                assert {line.rpartition(" ")[0] for line in lines} == {"Hello, mesh!"}, lines
                processes |= {line.rpartition(" ")[2] for line in lines}
        assert str(running.process.pid) not in processes
        running.process.terminate()
        assert await running.ends() == 0, running.output()
        assert running.output().count("PLAINTEXT: connections are neither") == 2, running.output()


async def test_a_process_of_the_pool_that_inherits_a_started_mesh_says_so_at_once(tmp_path: Path) -> None:
    async with worker(tmp_path, "celery_early") as (running, environ):
        assert "Hello, parent!" in running.output()
        lines = await send(tmp_path, environ)
        started = f"ForkedProcessError the mesh was started in process {running.process.pid}, and process"
        assert len(lines) == 8
        assert all(line.startswith(started) for line in lines), lines
