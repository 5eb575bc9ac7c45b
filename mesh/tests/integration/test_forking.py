"""Processes that fork: subprocesses in a handler, and children that inherit a started mesh."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from grpcmesh.forking import without_fork_handlers
from grpcmesh.testing.ping_pb2 import PingRequest
from grpcmesh.testing.ping_pb2_grpc import PingServiceStub
from tests.integration.test_runtime import process

HERE = Path(__file__).parent


@pytest.mark.parametrize("how", ["fork", "multiprocessing"])
async def test_a_child_that_inherits_a_mesh_is_told_so_at_once(how: str) -> None:
    command = [sys.executable, "-m", "tests.integration.fork_main", how]
    child = await asyncio.create_subprocess_exec(
        *command, cwd=HERE.parent.parent, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(child.communicate(), 120)
    lines = out.decode().splitlines()
    assert lines[-1:] == ["parent worked"], err.decode()[-3000:]
    assert len(lines) == 11
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


async def test_grpc_used_too_early_is_told(tmp_path: Path) -> None:
    async with process(tmp_path, PING_MODE="early") as p:
        assert await p.code() == 2
        assert "grpc was used before run()" in p.text()


async def test_fork_handlers_that_somebody_wants_are_refused(tmp_path: Path) -> None:
    async with process(tmp_path, GRPC_ENABLE_FORK_SUPPORT="true") as p:
        assert await p.code() == 2
        assert "GRPC_ENABLE_FORK_SUPPORT=true" in p.text()


def test_fork_handlers_are_off_where_somebody_has_said_so() -> None:
    environ = {"GRPC_ENABLE_FORK_SUPPORT": "false"}
    assert without_fork_handlers(environ) is None
    assert environ == {"GRPC_ENABLE_FORK_SUPPORT": "false"}
    assert os.environ.get("GRPC_ENABLE_FORK_SUPPORT") != "1"
