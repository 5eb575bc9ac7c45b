"""What a scene disturbs ends with the command, however that ends."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from tests.e2e.conftest import RunningCluster
from tests.integration.local.helpers import eventually

#: Seconds: the lease, and what a loaded machine adds.
MENDED = 120.0


def _replicas(cluster: RunningCluster, service: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = cluster.status()["services"][service]["replicas"]
    return found


def _stopped(pids: list[int]) -> list[bool]:
    """Of each process, whether it is stopped by a signal."""
    states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2] for pid in pids]
    return [state.split()[0] == "T" for state in states]


@contextlib.contextmanager
def _playing(cluster: RunningCluster, scene: str) -> Iterator[tuple["subprocess.Popen[str]", IO[str]]]:
    """Play a scene. Yield its process and its output."""
    command = [sys.executable, "-m", "meshmart", "tour", scene, "--state-dir", str(cluster.state_dir)]
    environment = cluster.environment_of_commands | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as tour:
        assert tour.stdout is not None
        yield tour, tour.stdout


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="reads the state of processes in /proc")
def test_a_tour_that_is_killed_leaves_no_replica_hanging(cluster: RunningCluster) -> None:
    # Asked before: on a busy machine the command takes longer than the scene.
    pids = [replica["pid"] for replica in _replicas(cluster, "notification")]
    with _playing(cluster, "slow-dependency") as (tour, lines):
        hanging = 0
        for line in lines:
            hanging += "hangs" in line and "notification/" in line
            if hanging == len(pids):
                break
        os.kill(tour.pid, signal.SIGKILL)

    # They hang until the lease ends. A process that gets no CPU stops only when it is its turn.
    asyncio.run(eventually(lambda: any(_stopped(pids)), MENDED))
    asyncio.run(eventually(lambda: not any(_stopped(pids)), MENDED))
    cluster.meshmart("audit", "--settle", "60s")


def test_a_tour_that_is_killed_leaves_no_fault_in_place(cluster: RunningCluster) -> None:
    before = len(_replicas(cluster, "product"))
    with _playing(cluster, "retry-storm") as (tour, lines):
        # It says so once every replica has the fault. On a busy machine the lease may end before a command
        # has looked at it.
        assert any("fail every call" in line for line in lines)
        os.kill(tour.pid, signal.SIGKILL)

    def healed() -> bool:
        # It fails while the replica that the scene added is leaving.
        listed = cluster.run("fault", "list", "product", "--json")
        return listed.returncode == 0 and not json.loads(listed.stdout)

    asyncio.run(eventually(healed, MENDED))
    asyncio.run(eventually(lambda: len(_replicas(cluster, "product")) == before, MENDED))


def test_a_tour_restores_the_number_of_replicas(cluster: RunningCluster) -> None:
    before = len(_replicas(cluster, "product"))
    (outcome,) = json.loads(cluster.meshmart("tour", "balance", "--json", check=False))
    assert outcome["scene"] == "balance"
    assert len(_replicas(cluster, "product")) == before


def test_a_second_tour_is_refused_while_one_plays(cluster: RunningCluster) -> None:
    with _playing(cluster, "balance") as (tour, lines):
        assert any("balance" in line for line in lines)
        second = cluster.run("tour", "scale-up")
        tour.send_signal(signal.SIGINT)
    assert second.returncode == 1
    assert "another command plays scenes" in second.stderr
