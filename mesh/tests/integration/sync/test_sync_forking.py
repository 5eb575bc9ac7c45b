"""Synchronous programs that fork, and that end without closing anything."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from grpcmesh.grpc_environment import FORK_SUPPORT
from tests.integration.sync.peer import Peer

MESH = Path(__file__).parents[3]


@pytest.fixture
def endpoint() -> Iterator[str]:
    with ExitStack() as stack:
        peer = Peer("mesh", stack)
        peer.start()
        stack.callback(peer.stop)
        yield peer.server.endpoint


def _run(how: str, endpoint: str) -> tuple[list[str], str]:
    command = [sys.executable, "-m", "tests.integration.sync.fork_main", how, endpoint]
    environ = os.environ | {FORK_SUPPORT: "0", "PYTHONFAULTHANDLER": "1"}
    done = subprocess.run(command, cwd=MESH, env=environ, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines(), done.stderr[-3000:]


def test_a_child_that_inherits_a_started_mesh_is_told_so_at_once(endpoint: str) -> None:
    lines, errors = _run("inherit", endpoint)
    assert lines[-2:] == ["status 0", "parent worked"], (lines, errors)
    assert len(lines) == 13, (lines, errors)
    assert {line.rpartition(" ")[2] for line in lines[:-2]} == {"ForkedProcessError"}, lines


def test_forked_workers_start_a_mesh_that_was_made_before_the_fork(endpoint: str) -> None:
    lines, errors = _run("prefork", endpoint)
    assert lines == ["child worked 3"] * 4 + ["status 0 0 0 0", "parent worked"], (lines, errors)


@pytest.mark.parametrize("how", ["unclosed", "unclosed mesh"])
def test_a_program_that_closes_nothing_ends(endpoint: str, how: str) -> None:
    lines, errors = _run(how, endpoint)
    assert lines == ["worked"]
    assert "Traceback" not in errors
