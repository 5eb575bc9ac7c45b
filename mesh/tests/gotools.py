"""Programs and modules of Go that tests need. Without Go a test that needs them is skipped."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

#: The most seconds that a build may take. Most of it is the first download.
TIMEOUT = 900
#: How often a build is tried, and seconds between two tries: Go does not repeat a download that has failed.
TRIES, PAUSE = 4, 5.0


def go() -> str:
    """Return the path of Go. Without it a test is skipped, but never in CI."""
    found = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if found is None:
        assert not os.environ.get("CI"), "CI has to have Go: this test would not run"
        pytest.skip("Go is not installed")
    return found


def cache() -> Path:
    """Return where built programs are kept."""
    directory = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "meshmart" / "bin"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def module(path: str, version: str) -> Path:
    """Return the directory of a module's source."""
    done = _run(go(), "mod", "download", "-json", f"{path}@{version}")
    return Path(json.loads(done)["Dir"])


def install(package: str, version: str) -> Path:
    """Return a program of a module, built with `go install`."""
    program = cache() / version / package.rsplit("/", 1)[1]
    if not program.exists():
        _run(go(), "install", f"{package}@{version}", GOBIN=str(program.parent))
    return program


def build(source: Path, program: Path) -> Path:
    """Build our own Go program from a directory with a go.mod."""
    _run(go(), "-C", str(source), "build", "-o", str(program), ".")
    return program


def _run(*command: str, **environ: str) -> str:
    for left in reversed(range(TRIES)):
        done = subprocess.run(
            command, env={**os.environ, **environ}, capture_output=True, text=True, timeout=TIMEOUT
        )
        if done.returncode == 0:
            return done.stdout
        if left:
            time.sleep(PAUSE)
    raise AssertionError(f"{' '.join(command)}: {done.stderr[-2000:]}")
