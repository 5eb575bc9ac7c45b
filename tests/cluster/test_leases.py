"""What a scene disturbs ends, whatever dies: the command outside, the verb, the pod of the toolbox."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.cluster.conftest import Release

#: Seconds: the caller's silence, the lease, and what a loaded cluster adds.
MENDED = 180.0


def _faults(release: Release) -> list[dict[str, Any]]:
    """None where the toolbox cannot be reached just now."""
    done = release.run("fault", "list", "--json")
    found: list[dict[str, Any]] = json.loads(done.stdout) if done.stdout.startswith("[") else [{}]
    return found


def _eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + MENDED
    while not holds():
        assert time.monotonic() < end, "it was not mended"
        time.sleep(2)


def _start(release: Release, scene: str, until: str) -> "subprocess.Popen[str]":
    """A tour that has said this."""
    tour = subprocess.Popen(release.command("tour", scene), stdout=subprocess.PIPE, text=True)
    assert tour.stdout is not None
    for line in tour.stdout:
        if until in line:
            return tour
    raise AssertionError(f"{scene} never said {until!r}")


def _kill_the_command(release: Release, tour: "subprocess.Popen[str]") -> None:
    tour.kill()


def _kill_the_toolbox(release: Release, tour: "subprocess.Popen[str]") -> None:
    """Its pod is deleted without grace; the command outside sees the connection break."""
    where = ["--context", release.context, "--namespace", release.namespace]
    selector = ["--selector", "app.kubernetes.io/component=toolbox"]
    delete = ["kubectl", *where, "delete", "pod", *selector, "--grace-period=0", "--force"]
    subprocess.run(delete, check=True, capture_output=True, timeout=120)


@pytest.mark.parametrize("kill", [_kill_the_command, _kill_the_toolbox], ids=["command", "toolbox"])
def test_no_replica_hangs_on(release: Release, kill: Callable[..., None]) -> None:
    replicas = len(release.replicas("notification"))
    with _start(release, "slow-dependency", f"notification/{replicas} hangs") as tour:
        try:
            kill(release, tour)
            _eventually(lambda: _faults(release) == [])
        finally:
            tour.kill()
    _eventually(lambda: all(r["ready"] for r in release.replicas("notification")))
    release.good("audit", "--settle", "60s")


@pytest.mark.parametrize("kill", [_kill_the_command, _kill_the_toolbox], ids=["command", "toolbox"])
def test_as_many_replicas_as_before(release: Release, kill: Callable[..., None]) -> None:
    before = len(release.replicas("product"))
    release.good("scale", "product=2")
    try:
        with _start(release, "balance", "counting 900 calls") as tour:
            try:
                assert len(release.replicas("product")) == 3
                kill(release, tour)
                _eventually(lambda: len(release.replicas("product")) == 2)
            finally:
                tour.kill()
    finally:
        release.good("scale", f"product={before}")
