"""Servers and clients made with Java's gRPC library: see `javapeer/JavaPeer.java`.

To run it by hand, in that directory:

    mvn -q dependency:build-classpath -Dmdep.outputFile=/tmp/classpath
    javac -d /tmp/classes -cp $(cat /tmp/classpath) *.java
    java -cp /tmp/classes:$(cat /tmp/classpath) JavaPeer serve -utilization=0.2 -oob=true
"""

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.integration.peers import Peer

SOURCE = Path(__file__).parent / "javapeer"
#: The most seconds that Maven may take. Most of it is the first download, of 34 MB.
TIMEOUT = 900
#: Use a small heap, and no optimizing compiler, which would cost more CPU than it saves in seconds.
_OPTIONS = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@functools.cache
def command() -> list[str]:
    """Build the program once in a test run, and return the command that starts it.

    Without Java and Maven a test is skipped, but never in CI.
    """
    if lacking := [name for name in ("java", "javac", "mvn") if shutil.which(name) is None]:
        assert not os.environ.get("CI"), f"CI has to have {', '.join(lacking)}: this test would not run"
        pytest.skip(f"not installed: {', '.join(lacking)}")
    directory = Path(_directory().name)
    jars, classes = directory / "classpath", directory / "classes"
    classes.mkdir()
    _run("mvn", "-q", "-B", "-f", str(SOURCE), "dependency:build-classpath", f"-Dmdep.outputFile={jars}")
    classpath = f"{classes}:{jars.read_text().strip()}"
    sources = map(str, sorted(SOURCE.glob("*.java")))
    _run("javac", "-Xlint:all", "-Werror", "-d", str(classes), "-cp", classpath, *sources)
    return ["java", *_OPTIONS, "-cp", classpath, "JavaPeer"]


@functools.cache
def _directory() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="javapeer")  # removed when the interpreter ends


def _run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, f"{' '.join(arguments)}: {(done.stdout + done.stderr)[-2000:]}"


PEER = Peer(command)
