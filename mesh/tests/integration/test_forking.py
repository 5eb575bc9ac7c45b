"""Processes that fork: subprocesses in a handler, and children that inherit a started mesh."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from grpcmesh.grpc_environment import FORK_SUPPORT, fork_handlers_wanted, prepare
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.test_runtime import process

HERE = Path(__file__).parent


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
async def test_a_child_that_inherits_a_mesh_is_told_so_at_once(how: str) -> None:
    command = [sys.executable, "-m", "tests.integration.fork_main", how]
    # As `run` sets it: with gRPC's own fork handlers about one child in five dies of a segmentation fault.
    environ = os.environ | {FORK_SUPPORT: "0", "PYTHONFAULTHANDLER": "1"}
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(
        *command, cwd=HERE.parent.parent, env=environ, stdout=pipe, stderr=pipe
    )
    out, err = await asyncio.wait_for(child.communicate(), 120)
    lines = out.decode().splitlines()
    assert lines[-1:] == ["parent worked"], err.decode()[-3000:]
    assert len(lines) == 11, err.decode()[-3000:]
    assert {line.rpartition(" ")[2] for line in lines[:-1]} == {"ForkedProcessError"}, lines


async def test_subprocesses_in_a_handler_spoil_no_calls(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="subprocess") as p:
        await p.ready()
        async with p.channel() as channel:
            stub = PingServiceStub(channel)

            async def call_on() -> None:
                for _ in range(40):
                    await stub.Ping(PingRequest(text="x" * 100), timeout=60)

            await asyncio.gather(*(call_on() for _ in range(8)))


async def test_a_program_that_used_grpc_before_run_is_started_again_in_its_process(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="early") as p:
        await p.ready()
        assert p.lines()[:2] == ["early", "early"]
        async with p.channel() as channel:
            await PingServiceStub(channel).Ping(PingRequest(), timeout=60)


async def test_fork_handlers_that_somebody_wants_are_refused(tmp_path: Path) -> None:
    async with process(tmp_path, GRPC_ENABLE_FORK_SUPPORT="true") as p:
        assert await p.code() == 2
        assert "GRPC_ENABLE_FORK_SUPPORT=true" in p.text()


def test_what_cannot_be_started_again_is_told() -> None:
    program = "import grpc, grpcmesh.runtime as r; r.run('x', None)"
    environ = {k: v for k, v in os.environ.items() if k != FORK_SUPPORT}
    done = subprocess.run([sys.executable, "-"], input=program, text=True, env=environ, capture_output=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "GRPC_ENABLE_FORK_SUPPORT=0" in done.stderr


@pytest.mark.parametrize(("said", "wanted"), [("1", True), ("TRUE", True), ("0", False), ("", False)])
def test_what_the_environment_says_is_read_as_grpc_reads_it(said: str, wanted: bool) -> None:
    assert fork_handlers_wanted({FORK_SUPPORT: said}) is wanted
    assert not fork_handlers_wanted({})
    environ = {FORK_SUPPORT: said}
    prepare(environ, imported=False, version="1.82.3")
    assert environ[FORK_SUPPORT] == said
