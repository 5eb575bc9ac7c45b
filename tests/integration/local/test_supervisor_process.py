"""The supervisor as a program: signals, a second one, and what the machine may refuse."""

import asyncio
import resource
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from local.client import ControlClient
from local.errors import ClusterError
from local.events import Event
from local.options import Options
from tests.integration.local.helpers import alive, environ, eventually

TIMEOUT = 60


class Program:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def event(self, kind: str) -> Event:
        """The next event of a kind."""
        assert self.process.stdout is not None
        async with asyncio.timeout(TIMEOUT):
            while line := await self.process.stdout.readline():
                if (event := Event.decode(line)).kind == kind:
                    return event
        raise AssertionError(f"the supervisor ended without {kind}")

    async def status(self) -> int:
        async with asyncio.timeout(TIMEOUT):
            return await self.process.wait()


@asynccontextmanager
async def program(
    options: Options, env: dict[str, str] | None = None, before: Callable[[], None] | None = None
) -> AsyncIterator[Program]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.local.stub_cluster", options.encode()),
        env=env or environ(),
        stdout=asyncio.subprocess.PIPE,
        preexec_fn=before,
    )
    try:
        yield Program(process)
    finally:
        if process.returncode is None:
            process.terminate()
        await process.communicate()


def pids(status: dict[str, Any]) -> list[int]:
    return [r["pid"] for service in status["services"].values() for r in service["replicas"]]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_a_signal_drains_everything_and_is_a_success(tmp_path: Path, number: signal.Signals) -> None:
    async with program(Options(tmp_path, 0)) as p:
        replicas = pids((await p.event("ready")).data)
        p.process.send_signal(number)
        assert await p.status() == 0
    assert not any(alive(pid) for pid in replicas)
    assert not (tmp_path / "control.sock").exists()


async def test_a_signal_before_all_is_up_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sick").touch()  # never becomes ready
    async with program(Options(tmp_path, 0)) as p:
        log = tmp_path / "logs" / "product-1.log"
        await eventually(lambda: log.exists() and "is up" in log.read_text())
        replicas = pids(await ControlClient(tmp_path).request("status"))
        p.process.send_signal(signal.SIGINT)
        assert await p.status() == 130
    assert len(replicas) == 2  # the storefront waits for product
    assert not any(alive(pid) for pid in replicas)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it takes a second")
async def test_replicas_die_with_a_supervisor_that_is_killed_and_the_next_starts_from_what_is_there(
    tmp_path: Path,
) -> None:
    options, env = Options(tmp_path, 0), environ()
    async with program(options, env) as p:
        replicas = pids((await p.event("ready")).data)
        p.process.kill()
        await p.status()
        await eventually(lambda: not any(alive(pid) for pid in replicas))
    async with program(options, env) as p:
        assert "still good" in (await p.event("step")).text
        await p.event("ready")


async def test_a_second_one_is_told_and_the_first_goes_on(tmp_path: Path) -> None:
    options, env = Options(tmp_path, 0), environ()
    async with program(options, env) as first:
        before = (await first.event("ready")).data
        async with program(options, env) as second:
            problem = (await second.event("error")).text
            assert problem.startswith(f"a cluster is running in {tmp_path} already (pid {first.process.pid})")
            assert await second.status() == 1
        assert await ControlClient(tmp_path).request("status") == before


async def test_a_second_one_elsewhere_on_the_same_addresses_is_told(tmp_path: Path) -> None:
    env = environ()
    async with program(Options(tmp_path / "a", 0), env) as first:
        await first.event("ready")
        async with program(Options(tmp_path / "b", 0), env) as second:
            assert "is taken" in (await second.event("error")).text
            assert await second.status() == 1


async def test_a_taken_port_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with program(Options(tmp_path, port)) as p:
            problem = (await p.event("error")).text
            assert problem.startswith(f"port {port} is taken on 127.0.0.1")
            assert problem.endswith("choose another with --port")
            assert await p.status() == 1
    assert not list((tmp_path / "logs").glob("product*"))


async def test_a_disk_that_takes_nothing_is_told_in_one_line(tmp_path: Path) -> None:
    def no_room() -> None:
        # What a full disk does: every write fails, with EFBIG in place of ENOSPC.
        resource.setrlimit(resource.RLIMIT_FSIZE, (16, 16))

    async with program(Options(tmp_path, 0), before=no_room) as p:
        problem = (await p.event("error")).text
        assert problem.startswith("File too large")
        assert "\n" not in problem
        assert await p.status() == 1


async def test_a_state_directory_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    async with program(Options(tmp_path / "state", 0)) as p:
        assert "the state directory cannot be used" in (await p.event("error")).text
        assert await p.status() == 1


async def test_down_returns_when_the_supervisor_is_gone(tmp_path: Path) -> None:
    client = ControlClient(tmp_path)
    async with program(Options(tmp_path, 0)) as p:
        await p.event("ready")
        await client.down()
        with pytest.raises(ClusterError, match="no cluster is running"):
            await client.request("status")
        assert await p.status() == 0


async def test_a_state_directory_with_a_long_path_works(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 40)
    client = ControlClient(directory)
    try:
        async with program(Options(directory, 0)) as p:
            await p.event("ready")
            assert (await client.request("status"))["services"]["product"]["port"] == 50051
    finally:
        shutil.rmtree(client.state.socket.parent)


async def test_the_state_directory_may_vanish_and_down_still_works(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    async with program(Options(directory, 0)) as p:
        replicas = pids((await p.event("ready")).data)
        shutil.rmtree(directory)
        p.process.terminate()
        assert await p.status() == 0
    assert not any(alive(pid) for pid in replicas)
