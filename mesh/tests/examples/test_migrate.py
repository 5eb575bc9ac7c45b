"""examples/migrate: a plain gRPC service, and the same service on the mesh."""

import difflib
import re
import socket
import sys
from pathlib import Path

import pytest

from tests.examples.kit import EXAMPLES, environment, greeter, program
from tests.integration import test_hello_example as hello
from tests.integration.serverkit import until
from tests.ports import free_port

FOLDER = EXAMPLES / "migrate"


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def diff() -> list[str]:
    before, after = ((FOLDER / name / "relay.py").read_text().splitlines() for name in ("before", "after"))
    return list(difflib.unified_diff(before, after, lineterm=""))[2:]


def test_the_diff_adds_five_lines_at_most_and_is_the_one_in_the_readme() -> None:
    assert sum(line.startswith("+") for line in diff()) <= 5
    shown = re.search(r"```diff\n(.*?)\n```", (FOLDER / "README.md").read_text(), re.S)
    assert shown is not None
    assert shown[1].splitlines() == diff()


@pytest.mark.parametrize("which", ["before", "after"])
async def test_callers_see_no_difference(tmp_path: Path, which: str) -> None:
    port = free_port()
    async with greeter(tmp_path) as upstream:
        own = {"MESH_ADDRESS": f"127.0.0.1:{port}", "MESH_HEALTH_ADDRESS": ""}
        if which == "before":
            own = {"GREETER": f"127.0.0.1:{upstream}", "ADDRESS": f"127.0.0.1:{port}"}
        with program(
            [sys.executable, "relay.py"], FOLDER / which, tmp_path / "log", environment(upstream, **own)
        ):
            await until(lambda: listens(port))
            done = hello.client(port, MESH_PLAINTEXT="true", MESH_DEADLINE_DEFAULT="100")
            assert done.stdout == "Hello, mesh! (relayed)\n", done.stderr
