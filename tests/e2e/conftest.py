"""One embedded cluster for the whole session, driven by the command as a person drives it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.ports import free_port

#: Seconds that a command may take; starting everything on a loaded two-core machine is the longest.
TIMEOUT = 600.0
#: Commands that measure nothing: on a busy machine their calls take longer than the shop's default deadline.
PATIENT = ("admin", "audit", "call", "fault", "token")
#: How often a scene is played again that could not be measured.
TRIES = 8


@dataclass(frozen=True)
class RunningCluster:
    """A cluster of `meshmart up --detach`, and the command to drive it."""

    state_dir: Path
    #: More variables for the command and, through `up`, for the replicas.
    environment: Mapping[str, str] = field(default_factory=dict)

    def meshmart(self, *arguments: str, check: bool = True, timeout: float = TIMEOUT) -> str:
        """What `meshmart ARGUMENTS` printed. With `check`, its failure fails the test."""
        done = self.run(*arguments, timeout=timeout)
        if check and done.returncode != 0:
            pytest.fail(
                f"meshmart {' '.join(arguments)} exited {done.returncode}\n{done.stdout}\n{done.stderr}"
            )
        return done.stdout

    def run(self, *arguments: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
        """Runs `meshmart ARGUMENTS`, whatever comes of it."""
        command = [sys.executable, "-m", "meshmart", *arguments, "--state-dir", str(self.state_dir)]
        environment = self.environment_of_commands
        if arguments[0] in PATIENT:
            environment |= {"MESH_DEADLINE_DEFAULT": "60"}
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, env=environment)

    @property
    def environment_of_commands(self) -> dict[str, str]:
        return environment() | dict(self.environment)

    def status(self) -> dict[str, Any]:
        """`meshmart status --json`."""
        found: dict[str, Any] = json.loads(self.meshmart("status", "--json"))
        return found

    def played(self, *scenes: str) -> dict[str, dict[str, Any]]:
        """The outcomes of a tour, by scene: of all scenes, or of these.

        One that was not measured is played again: the machine had no CPU for the shop or the command, which
        says nothing about the mesh.
        """
        outcomes = self._played(*scenes)
        for _ in range(TRIES):
            unmeasured = [name for name, outcome in outcomes.items() if not outcome["measured"]]
            if not unmeasured:
                break
            outcomes |= self._played(*unmeasured)
        return outcomes

    def _played(self, *scenes: str) -> dict[str, dict[str, Any]]:
        done = self.run("tour", *scenes, "--json", timeout=3600)
        assert done.stdout, done.stderr
        outcomes = {o["scene"]: o for o in json.loads(done.stdout)}
        # The exit status says whether each has passed.
        assert (done.returncode == 0) == all(o["passed"] for o in outcomes.values())
        return outcomes

    @property
    def storefront(self) -> str:
        return str(self.status()["storefront"])

    @property
    def traces(self) -> str:
        return str(self.status()["traces"])


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningCluster]:
    """The shop, two replicas of everything, on a free port; taken down at the end whatever happened."""
    running = RunningCluster(tmp_path_factory.mktemp("cluster") / "state")
    with up(running):
        yield running


@contextmanager
def up(cluster: RunningCluster, *options: str) -> Iterator[RunningCluster]:
    """Starts a cluster on a free port, and takes it down at the end whatever happened."""
    try:
        cluster.meshmart("up", "--detach", "--port", str(free_port()), *options)
        yield cluster
    finally:
        cluster.meshmart("down", check=False)


def environment() -> dict[str, str]:
    """The tests' own, without settings that would reach into the cluster."""
    root = str(Path(__file__).parents[2])
    path = os.pathsep.join([root, str(Path(root) / "protos")])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MESH_", "MESHMART_", "OTEL_"))}
    return kept | {"PYTHONPATH": path}
