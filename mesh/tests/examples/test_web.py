"""FastAPI under uvicorn, and Flask under gunicorn with forked workers."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.examples.kit import BIN, EXAMPLES, MISTAKES, Program, environment, get, greeter, program
from tests.integration import test_hello_example as hello
from tests.ports import free_port

WORKERS = 3


async def test_fastapi_calls_from_coroutines_and_threads_and_ends_with_its_mesh(tmp_path: Path) -> None:
    port, folder = free_port(), EXAMPLES / "fastapi"
    command = [BIN / "uvicorn", "app:app", "--port", str(port)]
    async with greeter(tmp_path) as upstream:
        with program(command, folder, tmp_path / "web.log", environment(upstream)) as web:
            await web.says(lambda output: "Uvicorn running" in output)
            for path in ("coroutine", "thread"):
                answer = await get(f"http://127.0.0.1:{port}/{path}/mesh")
                assert answer.json() == {"message": "Hello, mesh!"}
                # The middleware: a trace for each request.
                assert len(answer.headers["x-trace-id"]) == 32
            web.process.terminate()
            await web.ends()
            assert "Application shutdown complete" in web.output()
            assert "Traceback" not in web.output()


async def test_fastapi_does_not_start_without_certificates_and_says_why(tmp_path: Path) -> None:
    command = [BIN / "uvicorn", "app:app", "--port", str(free_port())]
    environ = environment(1, MESH_PLAINTEXT="false", MESH_IDENTITY_DIRECTORY=str(tmp_path / "none"))
    with program(command, EXAMPLES / "fastapi", tmp_path / "web.log", environ) as web:
        assert await web.ends() != 0
        assert f"{tmp_path}/none/tls.crt: No such file or directory" in web.output()


@asynccontextmanager
async def gunicorn(directory: Path, app: str, *options: str) -> AsyncIterator[tuple[Program, str]]:
    """Run Flask under gunicorn. Yield it, and the address of its page."""
    port = free_port()
    command = [BIN / "gunicorn", "--workers", str(WORKERS), "--bind", f"127.0.0.1:{port}", *options, app]
    path = f"{hello.HELLO}:{MISTAKES}"
    async with greeter(directory) as upstream:
        environ = environment(upstream, PYTHONPATH=path)
        with program(command, EXAMPLES / "flask", directory / "web.log", environ) as web:
            await web.says(lambda output: "Listening at" in output)
            yield web, f"http://127.0.0.1:{port}/hello/mesh"


@pytest.mark.parametrize("options", [["--preload"], [], ["--preload", "--threads", "4"]], ids=" ".join)
async def test_each_forked_worker_of_gunicorn_starts_its_own_mesh(
    tmp_path: Path, options: Sequence[str]
) -> None:
    workers: set[int] = set()
    async with gunicorn(tmp_path, "app:app", *options) as (web, url):
        async with asyncio.timeout(600):
            while len(workers) < WORKERS:  # whichever worker is free takes the next connection
                for answer in await asyncio.gather(*(get(url) for _ in range(2 * WORKERS))):
                    assert answer.status_code == 200, web.output()
                    assert answer.json()["message"] == "Hello, mesh!"
                    workers.add(answer.json()["worker"])
        assert web.process.pid not in workers
        web.process.terminate()
        assert await web.ends() == 0, web.output()
        # Each worker has said once that it starts.
        assert web.output().count("PLAINTEXT: connections are neither") == WORKERS, web.output()
        assert "Traceback" not in web.output()


async def test_a_worker_of_gunicorn_that_inherits_a_started_mesh_says_so_at_once(tmp_path: Path) -> None:
    async with gunicorn(tmp_path, "flask_early:app", "--preload") as (web, url):
        assert "Hello, parent!" in web.output()
        for _ in range(2):
            assert (await get(url)).status_code == 500
        said = f"ForkedProcessError: the mesh was started in process {web.process.pid}, and process"
        assert web.output().count(said) == 2
